import { expect, test } from 'vitest'
import { readServerEvents } from './sse.ts'

const bodyOf = (...pieces: string[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(Buffer.from(piece))
      controller.close()
    },
  })

async function all(body: ReadableStream<Uint8Array>, bytesMax: number) {
  const events: unknown[] = []
  for await (const event of readServerEvents(body, bytesMax)) events.push(event)
  return events
}

test('an event is put together from its lines, wherever the chunks are cut', async () => {
  expect(await all(bodyOf(': hello\n\nid: 7\neve', 'nt: x\r\ndata: a\ndata:', ' b\n\ndata: next\n\n'), 100)).toEqual([
    null,
    { id: '7', event: 'x', data: 'a\nb' },
    { id: null, event: 'message', data: 'next' },
  ])
})

test('an event that never ends is an error and not memory, though each of its lines is short', async () => {
  const endless = Array.from({ length: 50 }, () => 'data: 0123456789\n')
  await expect(all(bodyOf(...endless), 100)).rejects.toThrow('an event is longer than 100 bytes')
})
