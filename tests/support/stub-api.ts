// An HTTP server that answers as a test says and remembers what it was asked. For clients; the real API has tests of its own.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface Asked {
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: unknown
}
export interface Answered {
  readonly status?: number
  readonly body?: unknown
  /** Sent instead of `body`, one JSON value per line. */
  readonly lines?: readonly unknown[]
  /** Sent instead of `body`, as server-sent events. */
  readonly events?: readonly { readonly cursor: string }[]
}

export interface StubApi {
  readonly url: string
  readonly asked: readonly Asked[]
}

/** Lives until the running test ends. */
export async function stubApi(answer: (asked: Asked) => Answered): Promise<StubApi> {
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const one: Asked = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: text === '' ? undefined : JSON.parse(text),
    }
    asked.push(one)
    const { status = 200, body, lines, events } = answer(one)
    const type = lines ? 'application/x-ndjson' : status >= 400 ? 'application/problem+json' : 'application/json'
    response.writeHead(status, { 'content-type': events ? 'text/event-stream' : type })
    if (events) response.end(events.map((event) => `id: ${event.cursor}\ndata: ${JSON.stringify(event)}\n\n`).join(''))
    else response.end(lines ? lines.map((line) => `${JSON.stringify(line)}\n`).join('') : JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

export const problem = (status: number, code: string, detail: string, fields: Readonly<Record<string, unknown>> = {}): Answered => ({
  status,
  body: { type: 'about:blank', title: code, status, detail, code, hint: 'try', retryable: false, request_id: 'req_1', ...fields },
})
