import { readLines } from './lines.ts'

export interface ServerEvent {
  readonly id: string | null
  readonly event: string
  readonly data: string
}

/** Server-sent events of a body. A comment (the server's heartbeat) comes as null, so that the caller can note the sign of life. */
export async function* readServerEvents(body: ReadableStream<Uint8Array>, bytesMax: number): AsyncGenerator<ServerEvent | null> {
  let id: string | null = null
  let event = 'message'
  let data: string[] = []
  let length = 0
  for await (const line of readLines(body, bytesMax)) {
    if (line === '') {
      if (data.length > 0) yield { id, event, data: data.join('\n') }
      id = null
      event = 'message'
      data = []
      length = 0
    } else if (line.startsWith(':')) {
      yield null
    } else {
      const colon = line.indexOf(':')
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'id') id = value
      else if (field === 'event') event = value
      else if (field === 'data') {
        length += value.length
        if (length > bytesMax) throw new Error(`an event is longer than ${bytesMax} bytes`)
        data.push(value)
      }
    }
  }
}
