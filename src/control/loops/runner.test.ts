import { assert, describe, expect, test } from 'vitest'
import { ManualClock, settle } from '../../../tests/support/manual-clock.ts'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { seededRandom } from '../../base/seeded-random.ts'
import { type ErrorCode, type Failure, failure } from '../../contracts/errors.ts'
import type { ChangeKey } from '../model/event.ts'
import type { Lease } from '../store/lease.ts'
import { LOOPS_DEFAULTS } from './deps.ts'
import { type Loop, type Pass, Runner, type RunnerDeps, type Turn } from './runner.ts'

const RESYNC_MS = 10_000
const QUIET: Result<Pass, Failure> = ok({ againMs: null })
const fails = (code: ErrorCode) => err(failure(code, 'not now'))
const change = (id: string, kind: ChangeKey['kind'] = 'instance'): ChangeKey => ({ kind, id })

/** What the runner needs of a store: a lease that the test gives and takes, and notifications that it sends. */
class Stage {
  readonly clock = new ManualClock()
  readonly log = new RecordingLog()
  readonly counted: string[] = []
  leases: { readonly lost: AbortController; released: boolean }[] = []
  /** What the next requests for the lease get; ok when empty. */
  refusals: Failure[] = []
  standby = false
  #listeners = new Set<(change: ChangeKey | null) => void>()

  notify(given: ChangeKey | null): void {
    for (const listener of this.#listeners) listener(given)
  }
  get listeners(): number {
    return this.#listeners.size
  }
  run(...loops: readonly Loop[]): Runner {
    return new Runner(this.deps(), loops)
  }
  deps(): RunnerDeps {
    return {
      clock: this.clock,
      random: seededRandom(1),
      log: this.log,
      meter: { count: (name, labels) => void this.counted.push(`${name} ${labels?.code}`), observe() {}, gauge() {} },
      config: { ...LOOPS_DEFAULTS, retry: { baseMs: 1000, factor: 2, maxMs: 8000 } },
      store: {
        listen: (listener) => {
          this.#listeners.add(listener)
          return () => this.#listeners.delete(listener)
        },
        lease: (name, signal) => this.#lease(name, signal),
        write: () => Promise.resolve(fails('internal')),
      },
    }
  }
  async #lease(name: string, signal: AbortSignal): Promise<Result<Lease, Failure>> {
    const refusal = this.refusals.shift()
    if (refusal) return err(refusal)
    if (this.standby) {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      return fails('shutting_down')
    }
    const held = { lost: new AbortController(), released: false }
    this.leases.push(held)
    const release = async () => {
      held.released = true
    }
    return ok({ name, epoch: this.leases.length, signal: held.lost.signal, release })
  }
}

/** A loop that answers from a list, then quietly; it keeps what it was asked. */
function looper(answers: (Result<Pass, Failure> | (() => Promise<Result<Pass, Failure>>))[] = [], given: Partial<Loop> = {}) {
  const turns: Turn[] = []
  const loop: Loop = {
    name: 'looper',
    resyncMs: RESYNC_MS,
    gapMs: 20,
    cares: () => true,
    pass: async (turn) => {
      turns.push(turn)
      const answer = answers.shift() ?? QUIET
      return typeof answer === 'function' ? answer() : answer
    },
    ...given,
  }
  return { loop, turns }
}

describe('when a loop looks', () => {
  test('at everything when it gets the lease and at each resync, at what changed on a notification', async () => {
    const stage = new Stage()
    const { loop, turns } = looper([], { cares: ({ kind }) => kind === 'instance' })
    const runner = stage.run(loop)
    await stage.clock.advance(100)
    stage.notify(change('a'))
    stage.notify(change('b'))
    stage.notify(change('a'))
    stage.notify(change('n', 'node'))
    await stage.clock.advance(100)
    await stage.clock.advance(RESYNC_MS)
    stage.notify(null)
    await stage.clock.advance(100)
    expect(turns.map((turn) => turn.changes)).toEqual([null, [change('a'), change('b')], null, null])
    await runner.close()
  })

  test('what comes during a pass is seen by exactly one more', async () => {
    const stage = new Stage()
    const gate = Promise.withResolvers<void>()
    const { loop, turns } = looper([() => gate.promise.then(() => QUIET)])
    const runner = stage.run(loop)
    await settle()
    for (let index = 0; index < 100; index += 1) stage.notify(change(`i${index % 3}`))
    gate.resolve()
    await stage.clock.advance(1000)
    expect(turns.map((turn) => turn.changes?.length ?? null)).toEqual([null, 3])
    await runner.close()
  })

  test('too many changes are everything, so memory is bounded', async () => {
    const stage = new Stage()
    const { loop, turns } = looper()
    const runner = stage.run(loop)
    await settle()
    for (let index = 0; index < 501; index += 1) stage.notify(change(`i${index}`))
    await stage.clock.advance(100)
    expect(turns.map((turn) => turn.changes)).toEqual([null, null])
    await runner.close()
  })

  test('a busy stream of changes is answered at most once per gap', async () => {
    const stage = new Stage()
    const { loop, turns } = looper()
    const runner = stage.run(loop)
    for (let at = 0; at < 1000; at += 5) {
      stage.notify(change(`i${at}`))
      await stage.clock.advance(5)
    }
    expect(turns.length).toBeGreaterThan(20)
    expect(turns.length).toBeLessThanOrEqual(51)
    await runner.close()
  })

  test('a loop that asks to look again sooner does', async () => {
    const stage = new Stage()
    const { loop, turns } = looper([ok({ againMs: 3000 })])
    const runner = stage.run(loop)
    await stage.clock.advance(2999)
    expect(turns).toHaveLength(1)
    await stage.clock.advance(50)
    expect(turns).toHaveLength(2)
    await runner.close()
  })
})

describe('when something is wrong', () => {
  test('C14: an outage of the store is told once at its begin and once at its end, whatever the number of loops, and ends with a look at everything', async () => {
    const stage = new Stage()
    const away = () => Array.from({ length: 4 }, () => fails('store_unavailable'))
    const [one, two] = [looper(away()), looper(away(), { name: 'other' })]
    const runner = stage.run(one.loop, two.loop)
    await stage.clock.advance(100)
    expect(runner.health()).toMatchObject([{ status: 'degraded', detail: 'the store is away' }, { status: 'degraded' }])
    await stage.clock.advance(60_000)
    expect(stage.log.said()).toEqual(['warn loops wait for the store', 'info the store is back'])
    expect(one.turns.slice(0, 5).map((turn) => turn.changes)).toEqual([null, null, null, null, null])
    expect(runner.health()).toMatchObject([{ status: 'healthy' }, { status: 'healthy' }])
    await runner.close()
  })

  test('a pass under way when the store went away proves neither that it is back nor, if it fails late, that it has gone again', async () => {
    const stage = new Stage()
    const [early, late] = [Promise.withResolvers<Result<Pass, Failure>>(), Promise.withResolvers<Result<Pass, Failure>>()]
    const [first, second] = [looper([() => early.promise]), looper([() => late.promise])]
    const failing = looper([fails('store_unavailable'), fails('store_unavailable')])
    const runner = stage.run(first.loop, second.loop, failing.loop)
    await settle()
    early.resolve(QUIET)
    await settle()
    expect(stage.log.said()).toEqual(['warn loops wait for the store'])
    expect(runner.health()).toMatchObject([{ detail: 'the store is away' }, {}, {}])
    await stage.clock.advance(5000)
    expect(stage.log.said()).toEqual(['warn loops wait for the store', 'info the store is back'])
    late.resolve(fails('store_unavailable'))
    await stage.clock.advance(60_000)
    expect(stage.log.said()).toEqual(['warn loops wait for the store', 'info the store is back'])
    expect(second.turns.length).toBeGreaterThan(1)
    await runner.close()
  })

  test('the waits between failed passes grow to the limit', async () => {
    const stage = new Stage()
    const times: number[] = []
    const failing = async () => {
      times.push(stage.clock.elapsedMs())
      return fails('store_unavailable')
    }
    const { loop } = looper(Array.from({ length: 8 }, () => failing))
    const runner = stage.run(loop)
    await stage.clock.advance(60_000)
    const gaps = times.slice(1).map((at, index) => at - (times[index] ?? 0))
    for (const [index, longestMs] of [1000, 2000, 4000, 8000, 8000, 8000].entries()) {
      expect(gaps[index]).toBeLessThanOrEqual(longestMs)
      expect(gaps[index]).toBeGreaterThanOrEqual(longestMs * 0.8)
    }
    await runner.close()
  })

  test('a bug in one loop is told once, shown by health, tried again, and does not stop the others', async () => {
    const stage = new Stage()
    const bug = () => Promise.reject(new Error('undefined is not a function'))
    const [broken, fine] = [looper([bug, bug, bug], { name: 'broken' }), looper()]
    const runner = stage.run(broken.loop, fine.loop)
    await stage.clock.advance(100)
    expect(runner.health()).toMatchObject([
      { name: 'broken', status: 'degraded', detail: 'failed 1 times in a row: internal' },
      { status: 'healthy' },
    ])
    await stage.clock.advance(30_000)
    expect(stage.log.said()).toEqual(['error loop failed', 'info loop works again'])
    expect(stage.counted).toEqual(Array.from({ length: 3 }, () => 'errors_total internal'))
    expect(fine.turns.length).toBeGreaterThanOrEqual(3)
    expect(runner.health()[0]?.status).toBe('healthy')
    await runner.close()
  })

  test('what a pass could not do for one item is in its health until a pass has done it', async () => {
    const stage = new Stage()
    const { loop } = looper([ok({ againMs: null, failing: '1 of its items fail: internal' })])
    const runner = stage.run(loop)
    await stage.clock.advance(100)
    expect(runner.health()).toMatchObject([{ status: 'degraded', detail: '1 of its items fail: internal' }])
    await stage.clock.advance(RESYNC_MS)
    expect(runner.health()).toMatchObject([{ status: 'healthy' }])
    await runner.close()
  })

  test('a pass that hangs is reported', async () => {
    const stage = new Stage()
    const gate = Promise.withResolvers<Result<Pass, Failure>>()
    const { loop } = looper([() => gate.promise])
    const runner = stage.run(loop)
    await stage.clock.advance(61_000)
    expect(runner.health()).toMatchObject([{ status: 'degraded', detail: 'a pass has been running for 61 s' }])
    gate.resolve(QUIET)
    await runner.close()
  })
})

describe('the lease', () => {
  test('without it nothing runs, and standing by is healthy', async () => {
    const stage = new Stage()
    stage.standby = true
    const { loop, turns } = looper()
    const runner = stage.run(loop)
    await stage.clock.advance(60_000)
    expect(turns).toEqual([])
    expect(runner.health()).toEqual([{ name: 'looper', status: 'healthy', detail: 'standing by' }])
    await runner.close()
  })

  test('a lost one ends the passes, is given back and asked for again; what was remembered is reset', async () => {
    const stage = new Stage()
    const resets: number[] = []
    const { loop, turns } = looper([], { reset: () => void resets.push(stage.clock.elapsedMs()) })
    const runner = stage.run(loop)
    await stage.clock.advance(100)
    stage.leases[0]?.lost.abort(new Error('connection lost'))
    await stage.clock.advance(100)
    expect(stage.leases.map((lease) => lease.released)).toEqual([true, false])
    expect(turns[0]?.signal.aborted).toBe(true)
    expect(turns.at(-1)?.signal.aborted).toBe(false)
    expect(resets).toHaveLength(2)
    await runner.close()
  })

  test('a write refused by its epoch stops all loops at once', async () => {
    const stage = new Stage()
    const [fenced, other] = [looper([fails('lease_lost')]), looper()]
    const runner = stage.run(fenced.loop, other.loop)
    await stage.clock.advance(100)
    expect(stage.leases).toHaveLength(2)
    expect(other.turns[0]?.signal.aborted).toBe(true)
    expect(stage.log.said()).toEqual([])
    await runner.close()
  })

  test('a store that is away when it starts is waited for', async () => {
    const stage = new Stage()
    stage.refusals = Array.from({ length: 3 }, () => failure('store_unavailable', 'refused'))
    const { loop, turns } = looper()
    const runner = stage.run(loop)
    await stage.clock.advance(20_000)
    expect(turns.length).toBeGreaterThan(0)
    expect(stage.log.said()).toEqual(['warn loops wait for the store', 'info the store is back'])
    await runner.close()
  })
})

describe('closing', () => {
  test('T37: waits for the pass under way, gives the lease back and leaves nothing behind', async () => {
    const stage = new Stage()
    const gate = Promise.withResolvers<Result<Pass, Failure>>()
    const [busy, idle] = [looper([() => gate.promise]), looper()]
    const runner = stage.run(busy.loop, idle.loop)
    await stage.clock.advance(50)
    let closed = false
    const closing = runner.close().then(() => {
      closed = true
    })
    await settle()
    assert(!closed, 'closed before the pass ended')
    expect(busy.turns[0]?.signal.aborted).toBe(true)
    gate.resolve(QUIET)
    await closing
    expect(stage.leases[0]?.released).toBe(true)
    expect(stage.listeners).toBe(0)
    expect(stage.clock.timers).toBe(0)
    expect(stage.log.said()).toEqual([])
  })

  test('during an outage it does not wait for the backoff', async () => {
    const stage = new Stage()
    const { loop } = looper(Array.from({ length: 9 }, () => fails('store_unavailable')))
    const runner = stage.run(loop)
    await stage.clock.advance(5000)
    await runner.close()
    expect(stage.clock.timers).toBe(0)
  })
})
