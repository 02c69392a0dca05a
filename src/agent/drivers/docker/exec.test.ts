import type { Duplex } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { type FakeEngine, fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { ManualClock } from '../../../../tests/support/manual-clock.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import type { Clock } from '../../../base/clock.ts'
import { systemClock } from '../../../base/system.ts'
import type { Emit } from '../driver.ts'
import { Engine } from './engine.ts'
import { type ExecCall, runExec } from './exec.ts'

const ID = 'c'.repeat(64)
const CALL: ExecCall = { containerId: ID, command: ['x'], stdin: null, env: [], user: null, timeoutMs: 5000, onAbort: 'kill' }
const frame = (stream: number, text: string) => Buffer.concat([Buffer.from([stream, 0, 0, 0, 0, 0, 0, text.length]), Buffer.from(text)])

async function setUp(clock: Clock = systemClock) {
  const fake = await fakeEngine()
  const engine = new Engine({ socketPath: fake.socketPath, clock })
  onTestFinished(() => engine.close())
  fake.on(`POST /containers/${ID}/exec`, json(201, { Id: 'e1' }))
  state(fake, true, null)
  const output: string[] = []
  const run = (change: Partial<ExecCall> = {}, signal = new AbortController().signal, meanwhile: Emit = () => undefined) => {
    const take: Emit = (chunk) => {
      output.push(`${chunk.stream}:${Buffer.from(chunk.data)}`)
      return meanwhile(chunk)
    }
    return runExec({ engine, clock }, { ...CALL, ...change }, take, signal)
  }
  return { fake, run, output }
}
// Pid 0: whatever happens, there is nobody to signal.
const state = (fake: FakeEngine, Running: boolean, ExitCode: number | null) =>
  fake.on('GET /exec/e1/json', json(200, { Running, ExitCode, Pid: 0, ContainerID: ID }))

test('both streams and the code, which the engine may learn a moment after the end of the streams', async () => {
  const { fake, run, output } = await setUp()
  fake.onUpgrade((socket) => {
    const bytes = Buffer.concat([frame(1, 'out'), frame(2, 'err')])
    socket.write(bytes.subarray(0, 5))
    setImmediate(() => socket.end(bytes.subarray(5)))
    setTimeout(() => state(fake, false, 7), 30)
  })
  expect(await run()).toEqual({ ok: true, value: 7 })
  expect(output).toEqual(['stdout:out', 'stderr:err'])
})

test('standard input arrives whole and is ended', async () => {
  const { fake, run, output } = await setUp()
  fake.onUpgrade((socket: Duplex) => {
    let got = ''
    socket.on('data', (chunk: Buffer) => {
      got += chunk.toString()
    })
    socket.on('end', () => {
      state(fake, false, 0)
      socket.end(frame(1, got.slice(got.indexOf('}') + 1)))
    })
  })
  expect(await run({ stdin: Buffer.from('hello') })).toEqual({ ok: true, value: 0 })
  expect(output).toEqual(['stdout:hello'])
})

test('a connection lost while the command runs is told as such, and the code is not made up', async () => {
  const clock = new ManualClock()
  const { fake, run } = await setUp(clock)
  fake.onUpgrade((socket) => void setImmediate(() => socket.destroy()))
  let result: Awaited<ReturnType<typeof run>> | undefined
  void run({ timeoutMs: 60_000 }).then((ended) => {
    result = ended
  })
  await waitFor(() => clock.advance(50).then(() => result), { what: 'it gives up', deadlineMs: 10_000, everyMs: 1 })
  expect(result).toMatchObject({ ok: false, error: { code: 'exec_failed' } })
})

test('a hanging engine costs a command its own timeout and no more', async () => {
  const { fake, run } = await setUp()
  fake.hang(true)
  const begunMs = performance.now()
  const result = await run({ timeoutMs: 100 })
  expect(result).toMatchObject({ ok: false, error: { code: 'runtime_unreachable' } })
  expect(performance.now() - begunMs).toBeLessThan(3000)
})

test('a container that does not run is wrong_state', async () => {
  const { fake, run } = await setUp()
  fake.on(`POST /containers/${ID}/exec`, json(409, { message: 'is not running' }))
  expect(await run()).toMatchObject({ ok: false, error: { code: 'wrong_state' } })
})

test('when it is over nothing is asked any more and no timer stays, also when a question was under way', async () => {
  const clock = new ManualClock()
  const { fake, run } = await setUp(clock)
  fake.onUpgrade(() => undefined)
  let asked = 0
  let answer = () => {}
  fake.on('GET /exec/e1/json', (request, response, body) => {
    asked += 1
    answer = () => json(200, { Running: true, ExitCode: null, Pid: 0, ContainerID: ID })(request, response, body)
    if (asked > 1) answer()
  })
  const stop = new AbortController()
  const running = run({ onAbort: 'leave', timeoutMs: 60_000 }, stop.signal)
  await waitFor(() => clock.advance(100).then(() => asked === 1), { what: 'the first question', deadlineMs: 5000, everyMs: 1 })
  stop.abort()
  expect(await running).toMatchObject({ ok: false, error: { code: 'cancelled' } })
  answer()
  await clock.advance(10_000)
  expect([asked, clock.timers]).toEqual([1, 0])
})

/** A command that has ended with this much printed, while something it left behind holds its output open. */
async function endedBehindSlowReader() {
  const clock = new ManualClock()
  const { fake, run, output } = await setUp(clock)
  const taken = Promise.withResolvers<void>()
  let asked = 0
  fake.on('GET /exec/e1/json', (...exchange) => {
    asked += 1
    json(200, { Running: false, ExitCode: 3, Pid: 0, ContainerID: ID })(...exchange)
  })
  fake.onUpgrade((socket) => {
    for (let n = 0; n < 2000; n += 1) socket.write(frame(1, 'x'.repeat(200)))
    socket.write(frame(1, 'last'))
  })
  let result: Awaited<ReturnType<typeof run>> | undefined
  const begin = (change: Partial<ExecCall>, signal?: AbortSignal) =>
    void run(change, signal, () => taken.promise).then((ended) => {
      result = ended
    })
  return { clock, fake, output, begin, release: () => taken.resolve(), asked: () => asked, result: () => result }
}

test('what a slow reader has not taken when the command has ended is not cut off, however long it takes', async () => {
  const { clock, output, begin, release, asked, result } = await endedBehindSlowReader()
  begin({ timeoutMs: 10_000_000 })
  await waitFor(() => output.length > 0, { what: 'the first piece', deadlineMs: 5000 })
  await waitFor(() => clock.advance(100).then(() => asked() > 0), { what: 'its end is known', deadlineMs: 5000, everyMs: 1 })
  await clock.advance(3_600_000)
  expect([output.length, result()]).toEqual([1, undefined])
  release()
  await waitFor(() => output.at(-1) === 'stdout:last', { what: 'the last byte', deadlineMs: 5000 })
  await waitFor(() => clock.advance(100).then(result), { what: 'its outcome', deadlineMs: 5000, everyMs: 1 })
  expect(result()).toEqual({ ok: true, value: 3 })
})

test('a timeout ends a command behind a reader that stands still; it is told when what came before has been taken', async () => {
  const { clock, fake, output, begin, release, result } = await endedBehindSlowReader()
  state(fake, true, null)
  begin({ timeoutMs: 60_000 })
  await waitFor(() => output.length > 0, { what: 'the first piece', deadlineMs: 5000 })
  const looks = () => fake.requests.filter((request) => request === 'GET /exec/e1/json').length
  await clock.advance(60_000)
  await waitFor(() => looks() > 0, { what: 'it was looked for to be killed', deadlineMs: 5000 })
  expect(result()).toBeUndefined()
  release()
  await waitFor(result, { what: 'its outcome', deadlineMs: 5000 })
  expect(result()).toMatchObject({ ok: false, error: { code: 'exec_failed', fields: { timed_out: true } } })
})
