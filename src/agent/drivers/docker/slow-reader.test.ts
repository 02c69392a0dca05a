// Logs of a container whose reader takes its time: the engine waits, and is asked anew when it may have lost its place.
import { pipeline, Readable } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { ShiftClock } from '../../../../tests/support/shift-clock.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import type { Clock } from '../../../base/clock.ts'
import { silentLogger } from '../../../base/log.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { newId } from '../../../contracts/ids.ts'
import { must } from '../conformance-kit.ts'
import { createDockerDriver } from './driver.ts'
import { LABEL } from './marks.ts'

/** An engine with one running container. */
async function setUp(clock: Clock = systemClock) {
  const fake = await fakeEngine()
  const fixed = { nodeId: 'n1', random: systemRandom, log: silentLogger, extraLabels: {} }
  const driver = createDockerDriver({ stateDir: await tmpDir(), clock, socketPath: fake.socketPath, ...fixed })
  onTestFinished(() => driver[Symbol.asyncDispose]())
  const target = { id: newId.instance(systemClock, systemRandom), incarnation: 1, nonce: '' }
  const times = { StartedAt: '2026-01-01T00:00:00Z', FinishedAt: '0001-01-01T00:00:00Z' }
  const State = { Status: 'running', Running: true, Paused: false, Pid: 2 ** 22 + 7, ExitCode: 0, ...times }
  fake.on('GET /containers/holdfast-*', json(200, { Id: 'c1', Name: '/x', State, Config: { Labels: { [LABEL.instance]: target.id } } }))
  return { fake, driver, target }
}

test('a log reader that stands still makes the engine wait; when it goes on it gets every byte, when it goes away it ends', async () => {
  const { fake, driver, target } = await setUp()
  const payload = Buffer.alloc(65_536, 'x')
  payload.write('2026-01-01T00:00:00.000000000Z ')
  const frame = Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 1, 0, 0]), payload])
  const [frames, stampBytes] = [1000, 31]
  let [asked, written, ended] = [0, 0, 0]
  fake.on('GET /containers/c1/logs', (_, response) => {
    asked += 1
    const body = function* () {
      for (written = 0; written < frames; written += 1) yield frame
    }
    response.writeHead(200)
    pipeline(Readable.from(body()), response, () => {
      ended += 1
    })
  })
  const all = { follow: true, tailLines: null, sinceMs: null }
  const held = Promise.withResolvers<void>()
  let bytes = 0
  const reading = driver.logs(
    target,
    all,
    ({ data }) => {
      bytes += data.length
      return held.promise
    },
    new AbortController().signal,
  )
  let before = -1
  const stands = () => {
    const stood = written > 0 && written === before
    before = written
    return stood
  }
  await waitFor(stands, { what: 'the engine waits', deadlineMs: 10_000, everyMs: 200 })
  expect(written).toBeLessThan(frames / 2)
  held.resolve()
  expect(must(await reading)).toEqual({ lostBytes: null })
  // Of one time, so one long line.
  expect(bytes).toBe(frames * (payload.length - stampBytes))
  const gone = new AbortController()
  let pieces = 0
  const stuck = driver.logs(
    target,
    all,
    () => {
      pieces += 1
      return new Promise((resolve) => gone.signal.addEventListener('abort', () => resolve()))
    },
    gone.signal,
  )
  await waitFor(() => pieces === 1, { what: 'the first piece of the second answer', deadlineMs: 5000 })
  gone.abort()
  expect(must(await stuck)).toEqual({ lostBytes: null })
  await waitFor(() => ended === 2, { what: 'the engine was hung up on', deadlineMs: 5000 })
  expect([asked, written < frames / 2]).toEqual([2, true])
})

test.each([
  { stood: 'long', shiftMs: 2500, heard: [1, 2] },
  // The engine lost its place in the short wait: the second line never comes.
  { stood: 'for a moment, and hears nothing afterwards,', shiftMs: 1, heard: [1] },
])('a follower that stood still $stood asks the engine anew from its last time on, and gets nothing twice', async ({ shiftMs, heard }) => {
  const clock = new ShiftClock()
  const { fake, driver, target } = await setUp(clock)
  const line = (second: number) => {
    const text = Buffer.from(`2026-01-01T00:00:0${second}.000000000Z ${second}\n`)
    return Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, text.length]), text])
  }
  const asked: (string | null)[] = []
  let closed = 0
  fake.on('GET /containers/c1/logs', ({ url }, response) => {
    asked.push(new URL(url ?? '', 'http://engine').searchParams.get('since'))
    response.writeHead(200)
    response.on('close', () => {
      closed += 1
    })
    // The first answer has lost its place, and says nothing more.
    if (asked.length === 1) response.write(Buffer.concat(heard.map(line)))
    else response.end(Buffer.concat([line(1), line(2), line(3), line(4)]))
  })
  const seen: string[] = []
  const held = Promise.withResolvers<void>()
  const reading = driver.logs(
    target,
    { follow: true, tailLines: null, sinceMs: null },
    ({ data }) => {
      seen.push(Buffer.from(data).toString().trim())
      return held.promise
    },
    new AbortController().signal,
  )
  await waitFor(() => seen.length === 1, { what: 'the first line', deadlineMs: 5000 })
  clock.shift(shiftMs)
  held.resolve()
  expect(must(await reading)).toEqual({ lostBytes: null })
  expect(seen).toEqual(['1', '2', '3', '4'])
  // From a second before the first line on.
  expect(asked).toEqual([null, '1767225600.000'])
  await waitFor(() => closed === 2, { what: 'the old answer was hung up on', deadlineMs: 5000 })
})
