import assert from 'node:assert/strict'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { ManualClock } from '../../../../tests/support/manual-clock.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { silentLogger } from '../../../base/log.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { newId } from '../../../contracts/ids.ts'
import { until } from '../conformance-kit.ts'
import { Tracker } from './tracker.ts'

type Life = 'lives' | 'unattended' | 'ended'

/** Keeps the signals that somebody slept with. */
class RecordingClock extends ManualClock {
  readonly signals: AbortSignal[] = []

  override sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    if (signal) this.signals.push(signal)
    return super.sleep(durationMs, signal)
  }
}

async function setUp() {
  const clock = new RecordingClock()
  const dir = await tmpDir()
  const state: { life: Life; checks: number; ends: number } = { life: 'lives', checks: 0, ends: 0 }
  const check = () => {
    state.checks += 1
    return state.life
  }
  const tracker = new Tracker({ clock, log: silentLogger, onEnd: () => (state.ends += 1), check })
  onTestFinished(() => tracker.close())
  const run = (name: string) => ({ id: newId.instance(systemClock, systemRandom), incarnation: 1, dir: join(dir, name) })
  return { clock, state, tracker, run }
}

const SIGNAL = new AbortController().signal

test('an exit that appears by rename is reported at once, once, and the incarnation is let go', async () => {
  const { state, tracker, run } = await setUp()
  const there = run('there')
  mkdirSync(there.dir)
  tracker.track(there)
  writeFileSync(join(there.dir, '.exit'), '{}')
  renameSync(join(there.dir, '.exit'), join(there.dir, 'exit'))
  await until('it is reported', () => state.ends === 1)
  tracker.keeperEnded(there)
  assert.deepEqual([state.ends, tracker.get(there)], [1, undefined])
})

test('without a watch it is looked at every second', async () => {
  const { clock, state, tracker, run } = await setUp()
  const blind = tracker.track(run('not-there'))
  assert.equal(blind.watcher, null)
  await clock.advance(3000)
  assert.deepEqual([state.checks, state.ends], [3, 0])
  state.life = 'ended'
  await clock.advance(1000)
  assert.equal(state.ends, 1)
})

test('an adopted keeper is looked at every five seconds; once it is gone, its process every second; our own not at all', async () => {
  const { clock, state, tracker, run } = await setUp()
  for (const name of ['adopted', 'own']) mkdirSync(run(name).dir)
  tracker.track(run('own'), true)
  tracker.track(run('adopted'))
  await clock.advance(10_000)
  assert.equal(state.checks, 2)
  state.life = 'unattended'
  await clock.advance(10_000)
  assert.equal(state.checks, 2 + 1 + 5)
})

test('closed, it holds no timer and reports nothing', async () => {
  const { clock, state, tracker, run } = await setUp()
  tracker.track(run('not-there'))
  tracker.close()
  state.life = 'ended'
  await clock.advance(10_000)
  assert.deepEqual([clock.timers, state.checks, state.ends], [0, 0, 0])
})

test('a wait ends at a change, at its time, or when aborted', async () => {
  const { clock, tracker, run } = await setUp()
  const there = run('there')
  mkdirSync(there.dir)
  tracker.track(there)
  const changed = tracker.next(there, 60_000, SIGNAL)
  writeFileSync(join(there.dir, 'started'), '')
  await changed
  const timed = tracker.next(there, 50, SIGNAL)
  await clock.advance(50)
  await timed
  await tracker.next(there, 60_000, AbortSignal.abort())
})

test('a wait that is ended makes no error of its own: hundreds of checks a second end one each', async () => {
  const { clock, tracker, run } = await setUp()
  for (let n = 0; n < 2; n += 1) await tracker.next(run('there'), 60_000, AbortSignal.abort())
  const [first, second] = clock.signals.map(({ reason }) => reason)
  assert.ok(first === second && !(first instanceof Error), 'one reason for all, which captures no stack')
})
