import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { silentLogger } from '../../base/log.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { seededRandom } from '../../base/seeded-random.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { DEFAULT_RELIABILITY } from '../../contracts/reliability.ts'
import { InstanceInput } from '../../contracts/spec.ts'
import { compileSpec } from '../../contracts/spec-compile.ts'
import type { Measured, Subject } from '../model/check.ts'
import { createProber, type ProberDeps } from './prober.ts'
import type { Evidence } from './tasks.ts'

type Exec = (command: readonly string[], signal: AbortSignal) => Promise<Result<number, Failure>>
type Checks = NonNullable<InstanceInput['health']>

const idOf = (n: number) => InstanceId.parse(`inst_${String(n).padStart(20, '0')}`)
const exec = (name: string, given: Partial<Checks[number]> = {}) =>
  ({ type: 'exec', command: [name], interval: '10s', timeout: '1s', grace: '1ms', ...given }) as Checks[number]

function subject(checks: Checks, given: Partial<Subject> = {}): Subject {
  const spec = compileSpec(InstanceInput.parse({ command: ['x'], health: checks }))
  if (!spec.ok) throw new Error(spec.error.detail)
  return { id: idOf(1), incarnation: 1, nonce: 'n', spec: spec.value, addresses: [], startedAtMs: 0, proven: false, ...given }
}

function setup(
  given: {
    exec?: Exec
    probe?: () => Promise<Result<void, Failure>>
    onResult?: (measured: Measured) => void
    deps?: Partial<ProberDeps>
  } = {},
) {
  const clock = new ManualClock()
  const results: Measured[] = []
  const begun: { name: string; atMs: number }[] = []
  let running = 0
  let runningMax = 0
  const evidence: Evidence = {
    probe: given.probe ?? (async () => OK),
    exec: async (_target, { command }, _emit, signal) => {
      begun.push({ name: command[0]!, atMs: clock.elapsedMs() })
      running += 1
      runningMax = Math.max(runningMax, running)
      try {
        return await (given.exec ?? (async () => ok(0)))(command, signal)
      } finally {
        running -= 1
      }
    },
  }
  const prober = createProber({
    clock,
    random: seededRandom(7),
    log: silentLogger,
    config: DEFAULT_RELIABILITY.healthCheck,
    drivers: new Map([['process', evidence]]),
    onResult: (measured) => {
      results.push(measured)
      given.onResult?.(measured)
    },
    ...given.deps,
  })
  return {
    clock,
    prober,
    results,
    begun,
    times: (name: string) => begun.filter((one) => one.name === name).map(({ atMs }) => atMs),
    of: (index: number) => results.filter((one) => one.index === index),
    runningMax: () => runningMax,
  }
}
const hang: Exec = (_command, signal) =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(err(failure('exec_failed', 'aborted')))))

describe('the schedule', () => {
  test('T04: the first checks run at once, then every interval with at most a tenth of jitter', async () => {
    const { clock, prober, times, of } = setup()
    prober.set(subject([exec('a')]))
    await clock.advance(0)
    expect([of(0).length, of(1).length]).toEqual([1, 1])
    await clock.advance(300_000)
    const gaps = times('a')
      .slice(1)
      .map((at, n) => at - times('a')[n]!)
    expect(gaps.length).toBeGreaterThan(25)
    for (const gap of gaps) {
      expect(gap).toBeGreaterThanOrEqual(9000)
      expect(gap).toBeLessThanOrEqual(11_001)
    }
    expect(new Set(gaps).size).toBeGreaterThan(10)
    expect(of(0).length).toBeGreaterThanOrEqual(9)
    expect(of(0).length).toBeLessThanOrEqual(13)
  })

  test('T09: a check never overlaps itself, also when a run ignores its end; each interval still says so', async () => {
    const release = Promise.withResolvers<Result<number, Failure>>()
    const { clock, prober, begun, of, runningMax } = setup({ exec: () => release.promise })
    prober.set(subject([exec('a')]))
    await clock.advance(60_000)
    expect(begun).toHaveLength(1)
    expect(of(1).length).toBeGreaterThanOrEqual(5)
    expect(of(1).every(({ measurement }) => measurement.kind === 'fail' && measurement.reason === 'timeout')).toBe(true)
    release.resolve(ok(0))
    await clock.advance(12_000)
    expect(of(1).at(-1)?.measurement.kind).toBe('pass')
    expect(runningMax()).toBe(1)
    await prober.close()
  })

  test('500 idle instances with checks cost one timer', async () => {
    const { clock, prober, results } = setup()
    for (let n = 0; n < 500; n += 1) prober.set(subject([exec('a')], { id: idOf(n) }))
    await clock.advance(0)
    expect(results).toHaveLength(1000)
    expect(clock.timers).toBe(1)
    await clock.advance(11_000)
    expect(results.length).toBeGreaterThanOrEqual(1500)
    expect(clock.timers).toBe(1)
  })

  test('not more than the bound run at once, and a deadline begins with its run', async () => {
    const { clock, prober, results, runningMax } = setup({
      exec: () =>
        clockOf()
          .sleep(900)
          .then(() => ok(0)),
      deps: { concurrencyMax: 4 },
    })
    const clockOf = () => clock
    for (let n = 0; n < 20; n += 1) prober.set(subject([exec('a')], { id: idOf(n) }))
    await clock.advance(6000)
    expect(runningMax()).toBe(4)
    const own = results.filter(({ index }) => index === 1)
    expect(own).toHaveLength(20)
    expect(own.every(({ measurement }) => measurement.kind === 'pass')).toBe(true)
  })

  test('a check that has not passed yet is repeated quickly while its failures do not count, then every interval', async () => {
    let up = false
    const { clock, prober, times } = setup({ exec: async () => ok(up ? 0 : 1) })
    prober.set(subject([exec('a', { grace: '5s' })], { startedAtMs: clock.wallMs() }))
    await clock.advance(3000)
    expect(times('a')).toEqual([0, 250, 750, 1750, 2750])
    up = true
    await clock.advance(1000)
    expect(times('a')).toHaveLength(6)
    await clock.advance(8000)
    expect(times('a')).toHaveLength(6)
  })
})

describe('kinds', () => {
  test('ready and live begin when the start checks have passed, which then end', async () => {
    let up = false
    const { clock, prober, times } = setup({ exec: async ([name]) => ok(name !== 'start' || up ? 0 : 1) })
    prober.set(subject([exec('start', { kind: 'start' }), exec('ready', { kind: 'ready' }), exec('live', { kind: 'live' })]))
    await clock.advance(5000)
    const tries = times('start').length
    expect(tries).toBeGreaterThanOrEqual(5)
    expect([times('ready'), times('live')]).toEqual([[], []])
    up = true
    await clock.advance(1000)
    expect(times('start')).toHaveLength(tries + 1)
    expect([times('ready').length, times('live').length]).toEqual([1, 1])
    await clock.advance(60_000)
    expect(times('start')).toHaveLength(tries + 1)
    expect(times('ready').length).toBeGreaterThan(4)
  })

  test('a start that was proven before is not asked for again: ready and live begin at once', async () => {
    const { clock, prober, times } = setup({ exec: async ([name]) => ok(name === 'start' ? 1 : 0) })
    const checks = [exec('start', { kind: 'start' }), exec('ready', { kind: 'ready' }), exec('live', { kind: 'live' })]
    prober.set(subject(checks, { proven: true }))
    await clock.advance(30_000)
    expect(times('start')).toEqual([])
    expect(Math.min(times('ready').length, times('live').length)).toBeGreaterThan(1)
  })

  test('a start check needs its successes in a row, and all start checks have to pass', async () => {
    const answers = [0, 1, 0, 0]
    let second = false
    const { clock, prober, times } = setup({
      exec: async ([name]) => ok(name === 'one' ? (answers.shift() ?? 9) : name === 'two' && !second ? 1 : 0),
    })
    prober.set(subject([exec('one', { kind: 'start', success_threshold: 2 }), exec('two', { kind: 'start' }), exec('ready')]))
    await clock.advance(10_000)
    expect(times('one')).toHaveLength(4)
    expect(times('ready')).toEqual([])
    second = true
    await clock.advance(1100)
    expect(times('ready')).toHaveLength(1)
  })
})

describe('what a result belongs to', () => {
  test('T10: a check of incarnation 1 in flight when incarnation 2 begins is dropped', async () => {
    const { clock, prober, results } = setup({
      exec: async (_command, signal) => {
        await clockOf()
          .sleep(500, signal)
          .catch(() => {})
        return ok(1)
      },
    })
    const clockOf = () => clock
    prober.set(subject([exec('a')]))
    await clock.advance(100)
    prober.set(subject([exec('a')], { incarnation: 2 }))
    await clock.advance(5000)
    expect(results.filter(({ index }) => index === 1).map(({ incarnation }) => incarnation)).toEqual([2])
  })

  test('T11: dropping during a check, twice, and something unknown: nothing is told later, no timer stays', async () => {
    const { clock, prober, results } = setup({ exec: hang })
    prober.set(subject([exec('a')]))
    await clock.advance(100)
    expect(results.map(({ index }) => index)).toEqual([0])
    prober.drop(idOf(1))
    prober.drop(idOf(1))
    prober.drop(idOf(99))
    await clock.advance(120_000)
    expect(results).toHaveLength(1)
    expect(clock.timers).toBe(0)
  })

  test('T42: a listener that drops while it is told is obeyed, one that throws does not stop the checks', async () => {
    const { clock, prober, results } = setup({
      onResult: (measured) => {
        if (measured.id === idOf(1)) prober.drop(idOf(1))
        throw new Error('bug')
      },
    })
    prober.set(subject([]))
    prober.set(subject([], { id: idOf(2) }))
    await clock.advance(100_000)
    expect(results.filter(({ id }) => id === idOf(1))).toHaveLength(1)
    expect(results.filter(({ id }) => id === idOf(2)).length).toBeGreaterThan(2)
  })

  test('T44: the first result after the agent slept says so, the next one does not', async () => {
    class SleepyClock extends ManualClock {
      sleptMs = 0
      override elapsedMs(): number {
        return super.elapsedMs() + this.sleptMs
      }
    }
    const clock = new SleepyClock()
    const { prober, of } = setup({ deps: { clock } })
    prober.set(subject([exec('a')]))
    await clock.advance(1000)
    clock.sleptMs = 600_000
    await clock.advance(25_000)
    expect(of(1).map(({ wokenLate }) => wokenLate)).toEqual([
      false,
      true,
      ...of(1)
        .slice(2)
        .map(() => false),
    ])
    expect(of(1).length).toBeGreaterThanOrEqual(3)
  })

  test('age is that of the incarnation, and a jump of the wall clock does not change it', async () => {
    const { clock, prober, of } = setup()
    prober.set(subject([exec('a')], { startedAtMs: clock.wallMs() - 7000 }))
    await clock.advance(0)
    expect(of(1)[0]?.ageMs).toBe(7000)
    clock.jump(-3_600_000)
    await clock.advance(11_000)
    const [first, second] = of(1)
    expect(second!.ageMs - first!.ageMs).toBeGreaterThan(8000)
    expect(second!.ageMs - first!.ageMs).toBeLessThan(11_100)
  })

  test('T37: closing ends everything and waits for what runs', async () => {
    const { clock, prober, results } = setup({ exec: hang })
    prober.set(subject([exec('a')]))
    await clock.advance(10)
    await prober.close()
    await clock.advance(60_000)
    expect(results.map(({ index }) => index)).toEqual([0])
    expect(clock.timers).toBe(0)
  })

  test('closing is not held by a run that never ends', async () => {
    const { clock, prober } = setup({ exec: () => new Promise(() => {}) })
    prober.set(subject([exec('a')]))
    await clock.advance(10)
    const closed = prober.close()
    await clock.advance(1000)
    await closed
  })
})

describe('evidence', () => {
  const found = async (given: Parameters<typeof setup>[0], index: number, spec: Checks = [exec('a')], rest: Partial<Subject> = {}) => {
    const { clock, prober, of } = setup(given)
    prober.set(subject(spec, rest))
    await clock.advance(2000)
    await prober.close()
    return of(index)[0]?.measurement
  }

  test.each(['process_dead', 'process_mismatch', 'socket_unreachable'] as const)(
    'T08: an engine that says %s is a failure of that reason',
    async (code) => {
      expect(await found({ probe: async () => err(failure(code, 'gone')) }, 0)).toMatchObject({
        kind: 'fail',
        reason: code,
        detail: 'gone',
      })
    },
  )

  test.each(['runtime_unreachable', 'runtime_unavailable', 'cancelled'] as const)('a runtime that says %s proves nothing', async (code) => {
    expect(await found({ probe: async () => err(failure(code, 'x')) }, 0)).toMatchObject({ kind: 'inconclusive' })
    expect(await found({ exec: async () => err(failure(code, 'x')) }, 1)).toMatchObject({ kind: 'inconclusive' })
  })

  test('exec: the exit code decides, what cannot be run fails, what lasts too long times out, what throws is our own fault', async () => {
    expect(await found({ exec: async () => ok(0) }, 1)).toMatchObject({ kind: 'pass' })
    expect(await found({ exec: async () => ok(3) }, 1)).toMatchObject({ kind: 'fail', reason: 'exit_code', detail: 'exec: exit code 3' })
    expect(await found({ exec: async () => err(failure('exec_failed', 'not there')) }, 1)).toMatchObject({
      kind: 'fail',
      reason: 'exec_failed',
    })
    expect(await found({ exec: hang }, 1)).toMatchObject({ kind: 'fail', reason: 'timeout' })
    expect(await found({ exec: () => Promise.reject(new Error('bug')) }, 1)).toMatchObject({ kind: 'inconclusive' })
  })

  test('a port that the node cannot reach is named', async () => {
    const spec = compileSpec(
      InstanceInput.parse({ runtime: 'docker', image: 'x', ports: [{ internal: 80 }], health: [{ type: 'tcp', port: 80 }] }),
    )
    if (!spec.ok) throw new Error(spec.error.detail)
    const { clock, prober, of } = setup({ deps: { drivers: new Map([['docker', { probe: async () => OK, exec: async () => ok(0) }]]) } })
    prober.set({ ...subject([]), spec: spec.value })
    await clock.advance(0)
    expect(of(1)[0]?.measurement).toMatchObject({ kind: 'fail', reason: 'no_address', detail: expect.stringContaining('80') })
  })
})
