import { once } from 'node:events'
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { endInTime, writeOut } from './raw-stream.ts'

/** More than the kernel takes for a reader that does not read. */
const MUCH = Buffer.alloc(32 * 2 ** 20, 'x')
const HOUR_MS = 3_600_000

/** A response whose reader reads nothing until asked to. */
async function exchange() {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const asked = once(server, 'request') as Promise<[IncomingMessage, ServerResponse]>
  const { port } = server.address() as AddressInfo
  const request = get({ host: '127.0.0.1', port })
  const [, response] = await asked
  response.flushHeaders()
  const [incoming] = (await once(request, 'response')) as [IncomingMessage]
  incoming.on('error', () => undefined)
  onTestFinished(() => {
    request.destroy()
    server.closeAllConnections()
    server.close()
  })
  const readAll = async () => {
    let bytes = 0
    for await (const chunk of incoming) bytes += chunk.length
    return bytes
  }
  return { response, incoming, readAll }
}

test('a reader that is given its time is waited for without an end, and takes all', async () => {
  const clock = new ManualClock()
  const { response, readAll } = await exchange()
  let took: boolean | undefined
  void writeOut(response, MUCH, clock, null).then((answer) => {
    took = answer
  })
  await clock.advance(HOUR_MS)
  expect([took, clock.timers]).toEqual([undefined, 0])
  const reading = readAll()
  await waitFor(() => took !== undefined, { what: 'it is taken', deadlineMs: 10_000 })
  expect(took).toBe(true)
  response.end()
  expect(await reading).toBe(MUCH.length)
})

test('a reader that goes away ends the wait', async () => {
  const { response, incoming } = await exchange()
  const writing = writeOut(response, MUCH, new ManualClock(), null)
  incoming.destroy()
  expect(await writing).toBe(false)
})

test('an answer that has ended is not cut while its reader stands still', async () => {
  const clock = new ManualClock()
  const { response, readAll } = await exchange()
  response.write(MUCH)
  endInTime(response, clock, new AbortController().signal)
  await clock.advance(HOUR_MS)
  expect(response.destroyed).toBe(false)
  expect(await readAll()).toBe(MUCH.length)
})

test.each(['before', 'after'])('a server that closes %s the end cuts it after a moment', async (when) => {
  const clock = new ManualClock()
  const { response } = await exchange()
  const closing = new AbortController()
  response.write(MUCH)
  if (when === 'before') closing.abort()
  endInTime(response, clock, closing.signal)
  if (when === 'after') closing.abort()
  expect(response.destroyed).toBe(false)
  await clock.advance(1000)
  expect(response.destroyed).toBe(true)
})
