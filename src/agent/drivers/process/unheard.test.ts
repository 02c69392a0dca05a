// Commands that nobody listens to, such as checks: forked by the forge, and gone with whoever wanted them.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { Bench, must, until } from '../conformance-kit.ts'
import type { Wanted } from '../driver.ts'
import { processHarness } from './conformance-harness.ts'
import { readStat, sendSignal } from './proc.ts'

async function setUp() {
  const stateDir = await tmpDir()
  const harness = processHarness(stateDir)
  const bench = new Bench(harness)
  onTestFinished(async () => {
    await bench.driver[Symbol.asyncDispose]()
    await harness.dispose()
  })
  const said = join(stateDir, 'said')
  const run = (want: Wanted, script: string, signal = bench.signal) =>
    bench.driver.exec(want, { command: ['/bin/sh', '-c', script], stdin: null, timeoutMs: 60_000, user: null }, null, signal)
  return { harness, bench, run, said, words: () => readFile(said, 'utf8').catch(() => '') }
}

const parentOf = (pid: number) => readStat(pid)?.parentPid ?? 0

describeNeeds('perl', 'process driver: a command that nobody listens to', () => {
  test('it has the environment and directory of its workload, and no input, and what it prints is dropped', async () => {
    const { bench, run, said, words } = await setUp()
    const want = bench.want({ kind: 'run' }, { env: { WHO: 'ünï two\nlines' }, workingDir: '/usr' })
    await bench.start(want)
    const script = `cat; seq 100000; seq 100000 >&2; printf '%s|%s|%s' "$WHO" "$HOLDFAST_NONCE" "$PWD" > ${said}; exit 3`
    assert.deepEqual(await run(want, script), { ok: true, value: 3 })
    assert.equal(await words(), `ünï two\nlines|${want.nonce}|/usr`)
  })

  test('it costs the agent no fork of its own: the forge that made the keeper of the workload makes it', async () => {
    const { bench, run, said, words } = await setUp()
    const want = await bench.startReady()
    must(await run(want, `echo $PPID $(sed 's/.*) . //; s/ .*//' /proc/$PPID/stat) > ${said}`))
    const [, forge] = (await words()).split(' ')
    const pid = (await bench.seen(want))?.pid ?? 0
    assert.equal(Number(forge), parentOf(parentOf(pid)))
  })

  test('a signal is an exit code above 128, as for a shell', async () => {
    const { bench, run } = await setUp()
    const want = await bench.startReady()
    assert.deepEqual(await run(want, 'kill -9 $$'), { ok: true, value: 137 })
  })

  test('whatever it forked ends with it; the workload does not notice', async () => {
    const { harness, bench, run } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    assert.deepEqual(await run(want, '(setsid sleep 600 &) ; setsid sleep 600 & exit 9'), { ok: true, value: 9 })
    await until('nothing of the command is left', () => harness.living().length === before)
    must(await bench.driver.probe(want, bench.signal))
  })

  test('it ends at once when nobody wants it any more, and with its workload', async () => {
    const { harness, bench, run } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    const runs = () => until('the command runs', () => harness.living().length > before)
    const stopper = new AbortController()
    const cancelled = run(want, 'trap "" TERM; sleep 600; sleep 600', stopper.signal)
    await runs()
    stopper.abort()
    const outcome = await cancelled
    assert.equal(outcome.ok ? 'ok' : outcome.error.code, 'cancelled')
    await until('nothing of the command is left', () => harness.living().length === before)

    const beside = run(want, 'trap "" TERM; sleep 600; sleep 600')
    await runs()
    await bench.stop(want, 100)
    const ended = await beside
    assert.equal(ended.ok ? 'ok' : ended.error.fields?.instance_ended, true)
    await until('nothing is left', () => harness.living().length === 0)
  })

  test('given up in the very moment it is handed over, it leaves nothing', async () => {
    const { harness, bench, run } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const stopper = new AbortController()
        const running = run(want, 'sleep 600', stopper.signal)
        setImmediate(() => stopper.abort())
        return running
      }),
    )
    assert.ok(outcomes.every((outcome) => !outcome.ok && outcome.error.code === 'cancelled'))
    await until('nothing of them is left', () => harness.living().length === before)
  })

  test('when the forge is killed it goes too, which says nothing against the workload, and the next one works', async () => {
    const { harness, bench, run } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    const running = run(want, 'sleep 600')
    await until('the command runs', () => harness.living().length > before)
    sendSignal(parentOf(parentOf((await bench.seen(want))?.pid ?? 0)), 'SIGKILL')
    const outcome = await running
    assert.equal(outcome.ok ? 'ok' : outcome.error.code, 'runtime_unreachable')
    await until('nothing of the command is left', () => harness.living().length === before)
    assert.deepEqual(await run(want, 'exit 4'), { ok: true, value: 4 })
  })

  test('the end of the driver ends it, and it is told so', async () => {
    const { harness, bench, run } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    const running = run(want, 'sleep 600')
    await until('the command runs', () => harness.living().length > before)
    await bench.driver[Symbol.asyncDispose]()
    const outcome = await running
    assert.equal(outcome.ok ? 'ok' : outcome.error.code, 'runtime_unreachable')
    await until('nothing of the command is left', () => harness.living().length === before)
  })
})
