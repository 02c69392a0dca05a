// From measurements to a verdict, with thresholds and time given. One check's standing goes
//   null (nothing proven yet) -> true after `successThreshold` passes in a row
//   null or true -> false after `failureThreshold` failures in a row, -> true again after `recoveryThreshold` passes in a row
// and nothing else moves it, so each change happens exactly once. What does not count: failures within the grace after the start,
// failures of other checks while a start check has not passed, measurements that are inconclusive.
//
// Start checks gate everything: until each has passed the instance is starting, and one that still fails after its grace and as long
// as its threshold takes has lost the attempt. Ready checks gate `healthy`. Engine and live checks that fail say that it is ill.
import type { CheckStanding } from '../../contracts/phase.ts'
import type { Measured, PlannedCheck } from '../model/check.ts'
import type { Verdict } from '../model/plan.ts'

/** Standings in the order of the planned checks; all of one incarnation. */
export interface HealthState {
  readonly checks: readonly PlannedCheck[]
  readonly standings: readonly CheckStanding[]
}

export interface Folded {
  readonly state: HealthState
  /** False = the measurement changed no count: it is neither a success nor a failure of the instance. */
  readonly counted: boolean
}

/** `proven`: its start checks have passed, before this began. */
export function newHealth(checks: readonly PlannedCheck[], proven: boolean): HealthState {
  const standings = checks.map(({ name, kind }) => ({
    name,
    kind,
    passing: proven && kind === 'start' ? true : null,
    failuresInRow: 0,
    successesInRow: 0,
    lastDetail: '',
    lastAtMs: null,
  }))
  return { checks, standings }
}

export function foldMeasured(state: HealthState, measured: Measured): Folded {
  const check = state.checks[measured.index]
  const standing = state.standings[measured.index]
  if (!check || !standing) return { state, counted: false }
  const counted = counts(state, check, measured)
  const standings = state.standings.with(measured.index, foldCheck(standing, check, measured, counted))
  return { state: { ...state, standings }, counted }
}

function counts(state: HealthState, check: PlannedCheck, { measurement, ageMs }: Measured): boolean {
  if (measurement.kind !== 'fail') return measurement.kind === 'pass'
  return ageMs >= check.graceMs && (check.kind === 'start' || startPassed(state))
}

type Fact = Pick<Measured, 'measurement' | 'atMs' | 'ageMs' | 'wokenLate'>

function foldCheck(
  standing: CheckStanding,
  check: PlannedCheck,
  { measurement, atMs, ageMs, wokenLate }: Fact,
  counted: boolean,
): CheckStanding {
  // A start that was proven stays proven.
  if (check.kind === 'start' && standing.passing === true) return standing
  const seen = { ...standing, lastDetail: measurement.detail, lastAtMs: atMs, ...(wokenLate && { failuresInRow: 0, successesInRow: 0 }) }
  switch (measurement.kind) {
    case 'inconclusive':
      return seen
    case 'pass': {
      const successesInRow = seen.successesInRow + 1
      // Start checks end with what proves a start; one that was given up for late needs no more than that either.
      const needed = standing.passing === false && check.kind !== 'start' ? check.recoveryThreshold : check.successThreshold
      return { ...seen, failuresInRow: 0, successesInRow, passing: successesInRow >= needed ? true : standing.passing }
    }
    case 'fail': {
      // A failure always breaks a row of passes, also where it does not count itself.
      const failuresInRow = seen.failuresInRow + (counted ? 1 : 0)
      const failed = counted && failuresInRow >= check.failureThreshold && (check.kind !== 'start' || ageMs >= startBudgetMs(check))
      return { ...seen, successesInRow: 0, failuresInRow, passing: failed ? false : standing.passing }
    }
    default:
      return measurement satisfies never
  }
}

/** Start checks run faster than their interval, so time decides, not the count: the grace, then threshold times interval. */
const startBudgetMs = (check: PlannedCheck) => check.graceMs + check.failureThreshold * check.intervalMs

const startPassed = ({ standings }: Pick<HealthState, 'standings'>) =>
  standings.every(({ kind, passing }) => kind !== 'start' || passing === true)

/** `reason` null while unhealthy = only readiness failed: it lives and answers, so nothing may be restarted for it. */
export function verdict({ standings }: Pick<HealthState, 'standings'>): Verdict {
  const gated = standings.some(({ kind }) => kind === 'start' || kind === 'ready')
  const base = { reason: null, detail: '', startFailed: false, gated } as const
  const failing = (...kinds: readonly CheckStanding['kind'][]) =>
    standings.find(({ kind, passing }) => kinds.includes(kind) && passing === false)
  const start = failing('start')
  if (start) return { ...base, health: 'unhealthy', reason: 'health_check_failed', detail: explain(start), startFailed: true }
  if (!startPassed({ standings })) return { ...base, health: 'starting', detail: 'Its start checks have not passed yet.' }
  const engine = failing('engine')
  if (engine) return { ...base, health: 'unhealthy', reason: 'socket_unreachable', detail: explain(engine) }
  const live = failing('live')
  if (live) return { ...base, health: 'unhealthy', reason: 'health_check_failed', detail: explain(live) }
  const notReady = failing('ready')
  if (notReady) return { ...base, health: 'unhealthy', detail: explain(notReady) }
  const own = standings.filter(({ kind }) => kind !== 'engine')
  const waiting = own.find(({ passing }) => passing === null)
  if (waiting) return { ...base, health: 'starting', detail: waiting.lastDetail && explain(waiting) }
  // An engine that cannot be asked says nothing against checks that pass.
  return { ...base, health: standings.some(({ passing, lastAtMs }) => passing === true && lastAtMs !== null) ? 'healthy' : 'unknown' }
}

const explain = ({ name, lastDetail, failuresInRow }: CheckStanding) =>
  failuresInRow > 0 ? `Check ${name}: ${lastDetail} (${failuresInRow} in a row).` : `Check ${name}: ${lastDetail}.`
