// The closed sets behind the labels of the instruments. A series that exists from the start with the value zero is what makes
// rate() and increase() see the first event; a set that is not here (paths) starts with its first event.
import { CHECK_FAILURE_REASONS } from '../contracts/check-reasons.ts'
import { ERRORS } from '../contracts/errors.ts'
import { GARBAGE } from '../contracts/garbage.ts'
import { HOOKS } from '../contracts/hook.ts'
import { type MetricName, ORPHAN_REASONS } from '../contracts/metrics.ts'
import { PHASE_KINDS } from '../contracts/phase.ts'
import { ROUTES, UNTIMED_PATHS } from '../contracts/routes.ts'
import { RUNTIMES } from '../contracts/spec.ts'

const OUTCOMES = ['success', 'failure', 'timeout', 'cancelled', 'self_recovered'] as const

type LabelSet = Readonly<Record<string, string>>

/** Every combination of the given values, in their order. */
function product(sets: Readonly<Record<string, readonly string[]>>): readonly LabelSet[] {
  return Object.entries(sets).reduce<readonly LabelSet[]>(
    (rows, [label, values]) => rows.flatMap((row) => values.map((value) => ({ ...row, [label]: value }))),
    [{}],
  )
}

const runtime = { runtime: RUNTIMES }
const orphanReason = { reason: ORPHAN_REASONS }
const requests = () =>
  Object.values(ROUTES).flatMap((route) => ['2xx', '4xx', '5xx'].map((status) => ({ route: route.path, method: route.method, status })))

/** Label sets that exist from the start, by instrument. An instrument without labels always exists. */
const CLOSED: Partial<Record<MetricName, () => readonly LabelSet[]>> = {
  vm_health_checks_total: () => product(runtime),
  vm_health_check_failures_total: () => product(runtime),
  vm_health_check_failures_by_reason_total: () => product({ ...runtime, reason: CHECK_FAILURE_REASONS }),
  vm_health_check_duration_seconds: () => product(runtime),
  vm_orphaned_total: () => product(orphanReason),
  vm_recovery_attempts_total: () => product(orphanReason),
  vm_recovery_success_total: () => product(orphanReason),
  vm_recovery_episodes_total: () => product({ ...orphanReason, outcome: OUTCOMES }),
  vm_recovery_duration_seconds: () => product({ outcome: OUTCOMES }),
  hook_runs_total: () => product({ hook: HOOKS, outcome: ['ok', 'failed', 'timeout', 'dropped'] }),
  vm_orphans: () => product(orphanReason),
  gc_deleted_total: () => GARBAGE.map(({ kind, reason }) => ({ kind, reason })),
  gc_candidates: () => GARBAGE.map(({ kind, reason }) => ({ kind, reason })),
  instances: () => product({ ...runtime, state: PHASE_KINDS }),
  instance_crash_loops: () => product(runtime),
  instances_quarantined: () => product(runtime),
  apply_duration_seconds: () => product(runtime),
  delete_duration_seconds: () => product(runtime),
  errors_total: () => product({ code: Object.keys(ERRORS) }),
  http_requests_total: requests,
  http_request_duration_seconds: () => requests().filter(({ route }) => !UNTIMED_PATHS.has(route)),
}

export function initialLabelSets(name: MetricName, labels: readonly string[]): readonly LabelSet[] {
  return CLOSED[name]?.() ?? (labels.length === 0 ? [{}] : [])
}
