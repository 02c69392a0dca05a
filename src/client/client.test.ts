import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { systemClock, systemRandom } from '../base/system.ts'
import type { EventView } from '../contracts/views.ts'
import { createClient } from './client.ts'
import type { OutputChunk } from './stream.ts'

const open: Server[] = []
afterEach(async () => {
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

async function serve(listener: RequestListener, port = 0): Promise<{ url: string; port: number }> {
  const server = createServer(listener)
  open.push(server)
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { url: `http://127.0.0.1:${address.port}`, port: address.port }
}

const client = (url: string, more: { retryMs?: number; requestMs?: number } = {}) =>
  createClient({ url, token: 'tok', clock: systemClock, random: systemRandom, ...more })

function json(response: ServerResponse, status: number, body: unknown, type = 'application/json') {
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(body))
}
const problem = (response: ServerResponse, status: number, code: string, more = {}) =>
  json(
    response,
    status,
    {
      type: `docs/errors.md#${code}`,
      title: 't',
      status,
      detail: `because ${code}`,
      code,
      hint: 'h',
      retryable: false,
      request_id: 'req_1',
      ...more,
    },
    'application/problem+json',
  )

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of request) text += chunk
  return text === '' ? undefined : JSON.parse(text)
}

const org = { id: 'org_1', name: 'acme', created_at: '2026-01-01T00:00:00.000Z' }

test('a call carries token, path, query and body, and gives the parsed answer', async () => {
  let seen: unknown
  const { url } = await serve(async (request, response) => {
    seen = {
      method: request.method,
      url: request.url,
      token: request.headers.authorization,
      match: request.headers['if-match'],
      body: await bodyOf(request),
    }
    json(response, 200, { ...org, added_later: 1 })
  })
  const got = await client(`${url}/`).call('createOrg', { body: { name: 'acme' } })
  expect(got).toEqual({ ok: true, value: org })
  expect(seen).toEqual({ method: 'POST', url: '/v1/orgs', token: 'Bearer tok', match: undefined, body: { name: 'acme' } })
  await client(url).call('putMetadata', { params: { id: 'a/b c' }, query: { mode: 'replace' }, body: { labels: { a: null } }, ifMatch: 7 })
  expect(seen).toMatchObject({
    method: 'PUT',
    url: '/v1/instances/a%2Fb%20c/metadata?mode=replace',
    match: '"7"',
    body: { labels: { a: null } },
  })
})

test('a mutation that met a store outage and a cut connection is repeated with the same key and succeeds', async () => {
  const keys: unknown[] = []
  const { url } = await serve((request, response) => {
    keys.push(request.headers['idempotency-key'])
    if (keys.length === 1) problem(response, 503, 'store_unavailable')
    else if (keys.length === 2) response.destroy()
    else json(response, 201, org)
  })
  const got = await client(url).call('createOrg', { body: { name: 'acme' } })
  expect(got.ok).toBe(true)
  expect(keys).toHaveLength(3)
  expect(new Set(keys).size).toBe(1)
  expect(keys[0]).toMatch(/^[!-~]{8,128}$/)
})

test('a refusal is a value with code, detail and fields, and is not repeated', async () => {
  let calls = 0
  const { url } = await serve((_, response) => {
    calls += 1
    problem(response, 409, 'quota_exceeded', { dimension: 'memory', limit: 5, nodes: ['a', 'b'], deep: { no: 1 } })
  })
  const got = await client(url).call('createOrg', { body: { name: 'acme' } })
  expect(got).toEqual({
    ok: false,
    error: {
      code: 'quota_exceeded',
      detail: 'because quota_exceeded',
      fields: { dimension: 'memory', limit: 5, nodes: ['a', 'b'], request_id: 'req_1' },
    },
  })
  expect(calls).toBe(1)
})

test('a refused connection is control_unreachable, and a server that comes up within the second is still reached', async () => {
  const { url, port } = await serve(() => {})
  await new Promise((resolve) => open.splice(0)[0]!.close(resolve))
  const got = await client(url, { retryMs: 0 }).call('listOrgs', {})
  expect(got).toMatchObject({ ok: false, error: { code: 'control_unreachable', detail: `Nothing listens at ${url}.` } })
  const waiting = client(url).call('listOrgs', {})
  await serve((_, response) => json(response, 200, { items: [], next_cursor: null }), port)
  expect(await waiting).toEqual({ ok: true, value: { items: [], next_cursor: null } })
})

test('a server that hangs is given up at the deadline, and a caller that gives up is told so', async () => {
  const { url } = await serve(() => {})
  const hung = await client(url, { requestMs: 50, retryMs: 0 }).call('listOrgs', {})
  expect(hung).toMatchObject({ ok: false, error: { code: 'control_unreachable', detail: expect.stringContaining('within 50 ms') } })
  const controller = new AbortController()
  const cancelled = client(url).call('listOrgs', { signal: controller.signal })
  controller.abort()
  expect(await cancelled).toMatchObject({ ok: false, error: { code: 'cancelled' } })
})

test('answers that are no problem document, or of another protocol, are named as such', async () => {
  const { url } = await serve((request, response) => {
    if (request.url === '/v1/orgs') response.writeHead(502).end('<html>')
    else json(response, 200, { nonsense: true })
  })
  expect(await client(url, { retryMs: 0 }).call('listOrgs', {})).toMatchObject({
    ok: false,
    error: { code: 'control_unreachable', fields: { status: 502 } },
  })
  expect(await client(url).call('getNode', { params: { id: 'n' } })).toMatchObject({
    ok: false,
    error: { code: 'internal', fields: { route: 'getNode' } },
  })
})

test('output arrives in order with its end, over frames cut anywhere, and a slow reader is waited for', async () => {
  const lines = [
    { stream: 'stdout', at: null, data: Buffer.from('hé\n').toString('base64') },
    { stream: 'stderr', at: '2026-01-01T00:00:00.000Z', data: Buffer.from([0, 255]).toString('base64') },
    { end: true, exit_code: 3, lost_bytes: null },
  ]
  const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const { url } = await serve((_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    for (let at = 0; at < bytes.length; at += 7) response.write(bytes.subarray(at, at + 7))
    response.end()
  })
  const chunks: OutputChunk[] = []
  let busy = false
  const got = await client(url).stream('execInstance', { params: { id: 'i' }, body: { command: ['x'] } }, async (chunk) => {
    expect(busy).toBe(false)
    busy = true
    await new Promise((resolve) => setImmediate(resolve))
    busy = false
    chunks.push(chunk)
  })
  expect(got).toEqual({ ok: true, value: { exitCode: 3, lostBytes: null, incarnation: null } })
  expect(chunks.map((chunk) => [chunk.stream, chunk.data])).toEqual([
    ['stdout', Buffer.from('hé\n')],
    ['stderr', Buffer.from([0, 255])],
  ])
})

test('a stream that is cut, ends in an error, or is given up says which', async () => {
  const { url } = await serve((request, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    if (request.url?.startsWith('/v1/instances/cut/')) response.end('{"stream":"stdout","at":null,"data":""}\n')
    else if (request.url?.startsWith('/v1/instances/gone/')) problemLine(response)
    else response.write('{"stream":"stdout","at":null,"data":""}\n')
  })
  const problemLine = (response: ServerResponse) =>
    response.end(
      `${JSON.stringify({ error: { type: 't', title: 't', status: 503, detail: 'node left', code: 'node_unreachable', hint: 'h', retryable: true, request_id: 'r' } })}\n`,
    )
  expect(await client(url).stream('logsInstance', { params: { id: 'cut' } }, () => {})).toMatchObject({
    ok: false,
    error: { code: 'control_unreachable' },
  })
  expect(await client(url).stream('logsInstance', { params: { id: 'gone' } }, () => {})).toMatchObject({
    ok: false,
    error: { code: 'node_unreachable', detail: 'node left' },
  })
  const controller = new AbortController()
  const got = await client(url).stream('logsInstance', { params: { id: 'endless' } }, () => controller.abort(), controller.signal)
  expect(got).toMatchObject({ ok: false, error: { code: 'cancelled' } })
})

const eventOf = (cursor: number): EventView => ({
  cursor: String(cursor),
  at: '2026-01-01T00:00:00.000Z',
  type: 'x',
  org_id: null,
  instance_id: null,
  node_id: null,
  data: {},
})
const sse = (cursor: number) => `id: ${cursor}\nevent: x\ndata: ${JSON.stringify(eventOf(cursor))}\n\n`

test('the event stream resumes after the last event over cut connections: each event once', async () => {
  const resumedAfter: unknown[] = []
  const { url } = await serve((request, response) => {
    resumedAfter.push(request.headers['last-event-id'])
    const from = Number(request.headers['last-event-id'] ?? 0)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`: heartbeat\n\n${sse(from + 1)}${sse(from + 2)}`)
    // Half an event, then the connection ends: it must not be delivered.
    response.end(sse(from + 3).slice(0, 30))
  })
  const controller = new AbortController()
  const seen: string[] = []
  let reconnects = 0
  const got = await client(url).events({ follow: true, signal: controller.signal, onReconnect: () => (reconnects += 1) }, (event) => {
    seen.push(event.cursor)
    if (seen.length === 6) controller.abort()
  })
  expect(got).toEqual({ ok: true, value: '6' })
  expect(seen).toEqual(['1', '2', '3', '4', '5', '6'])
  expect(resumedAfter).toEqual([undefined, '2', '4'])
  expect(reconnects).toBe(2)
})

test('a first connection that fails, and a revoked token, end the event stream with the failure', async () => {
  let calls = 0
  const { url } = await serve((_, response) => {
    calls += 1
    if (calls === 1) response.writeHead(200, { 'content-type': 'text/event-stream' }).end(sse(1))
    else problem(response, 401, 'unauthenticated')
  })
  expect(await client(url).events({ follow: true }, () => {})).toMatchObject({ ok: false, error: { code: 'unauthenticated' } })
  expect(calls).toBe(2)
  await new Promise((resolve) => {
    open[0]!.closeAllConnections()
    open.splice(0)[0]!.close(resolve)
  })
  expect(await client(url).events({ follow: true }, () => {})).toMatchObject({
    ok: false,
    error: { code: 'control_unreachable' },
  })
})

test('without follow, events come in pages to the end', async () => {
  const { url } = await serve((request, response) => {
    const after = Number(new URL(request.url ?? '', 'http://x').searchParams.get('after') ?? 0)
    const items = after < 4 ? [eventOf(after + 1), eventOf(after + 2)] : []
    json(response, 200, { items, next_cursor: items.length > 0 ? String(after + 2) : null })
  })
  const seen: string[] = []
  expect(await client(url).events({ follow: false }, (event) => void seen.push(event.cursor))).toEqual({ ok: true, value: '4' })
  expect(seen).toEqual(['1', '2', '3', '4'])
})

test('wrong names and shapes do not compile', () => {
  const { call, stream } = client('http://127.0.0.1:1')
  const wrong = [
    // @ts-expect-error no such route
    () => call('createOrgs', {}),
    // @ts-expect-error a body is needed
    () => call('createOrg', {}),
    // @ts-expect-error memory is text
    () => call('createInstance', { body: { memory: 5 } }),
    // @ts-expect-error an id is needed
    () => call('getInstance', {}),
    // @ts-expect-error logs are a stream
    () => call('logsInstance', { params: { id: 'x' } }),
    // @ts-expect-error an instance is no stream
    () => stream('getInstance', { params: { id: 'x' } }, () => {}),
  ]
  expect(wrong).toHaveLength(6)
})
