// What happens in a fleet, and exactly which alerts must fire then. `promtool test rules` plays each of these (tests/ops.real.test.ts).
// A case names every alert that fires at its time: all others must be silent.

/** What each alert that fires must carry besides its severity. */
type Firing = Readonly<Record<string, Readonly<Record<string, string>>>>

export interface RuleCase {
  readonly name: string
  /** Values of series from the start on in promtool's notation, one each 15 s; the rest of the fleet's series stay as `fleet` has them. */
  readonly series: Readonly<Record<string, string>>
  /** Minutes after the start → what fires then. */
  readonly fires: Readonly<Record<number, Firing>>
  readonly instances?: number
  /** Expressions, each with its one value. */
  readonly values?: Readonly<Record<string, number>>
}

export const SCRAPE_SECONDS = 15
/** As long as the longest case. */
const MINUTES = 80
export const SAMPLES = (MINUTES * 60) / SCRAPE_SECONDS

const flat = (value: number) => `${value}x${SAMPLES}`
/** Zero at the start, more by `step` with each scrape. */
const rising = (step: number) => `0+${step}x${SAMPLES}`
/** Zero up to the minute, then `value` for good. */
const from = (minute: number, value: number, before = 0) => {
  const first = (minute * 60) / SCRAPE_SECONDS
  return `${before}x${first - 1} ${value}x${SAMPLES - first}`
}
/** `value` between the two minutes and `rest` otherwise; `_` = not scraped. */
const between = (first: number, last: number, value: number | '_', rest: number) => {
  const per = 60 / SCRAPE_SECONDS
  return `${rest}x${first * per - 1} ${value}x${(last - first) * per - 1} ${rest}x${SAMPLES - last * per}`
}

/** A healthy fleet of that many instances: two checks a minute each, no failure, one agent, a process runtime. Without instances: no check. */
export function fleet(instances: number): Readonly<Record<string, string>> {
  return {
    'vm_health_checks_total{runtime="process"}': rising(instances / 2),
    'instances{runtime="process",state="running"}': flat(instances),
    reliability_checked_vms_total: flat(instances),
    'runtime_healthy{runtime="process"}': flat(1),
    'runtime_healthy{runtime="docker"}': flat(0),
    'recovery_breaker_open{scope="node"}': flat(0),
    agents_connected: flat(1),
  }
}

const QUIET: readonly RuleCase[] = [
  { name: 'nothing was ever launched', instances: 0, series: {}, fires: { 1: {}, 6: {}, 15: {}, 48: {}, 75: {} } },
  ...[1, 10, 1000].map((instances) => ({
    name: `a quiet fleet of ${instances}`,
    instances,
    series: {},
    fires: { 1: {}, 6: {}, 15: {}, 48: {}, 75: {} },
  })),
]

const ORPHANS: readonly RuleCase[] = [
  ...[1, 10, 1000].map((instances) => ({
    name: `one instance of ${instances} is not brought back`,
    instances,
    series: { vm_oldest_orphan_age_seconds: rising(SCRAPE_SECONDS), 'vm_orphans{reason="process_dead"}': flat(1) },
    fires: { 4: {}, 6: { HoldfastOrphanedTooLong: {} } },
  })),
  { name: 'five orphans', series: { 'vm_orphans{reason="process_dead"}': flat(5) }, fires: { 5: {} } },
  {
    name: 'six orphans of several kinds',
    series: { 'vm_orphans{reason="process_dead"}': flat(4), 'vm_orphans{reason="process_mismatch"}': flat(2) },
    fires: { 5: { HoldfastManyOrphans: {} } },
  },
  {
    name: 'a thousand die at once and are back within half a minute',
    instances: 1000,
    series: { 'vm_orphans{reason="process_dead"}': `0x19 1000x1 0x${SAMPLES}` },
    fires: { 5: {}, 6: {}, 7: {} },
  },
]

const EPISODES = 'vm_recovery_episodes_total'
const REASON = 'reason="process_dead"'
const RECOVERIES: readonly RuleCase[] = [
  {
    name: 'T40: one success at the second attempt, one failure after three',
    series: {
      [`${EPISODES}{${REASON},outcome="success"}`]: from(2, 1),
      [`${EPISODES}{${REASON},outcome="failure"}`]: from(2, 1),
      [`vm_recovery_success_total{${REASON}}`]: from(2, 1),
      [`vm_recovery_attempts_total{${REASON}}`]: from(2, 5),
      [`vm_orphans{${REASON}}`]: from(2, 1),
      vm_oldest_orphan_age_seconds: `0x7 0+${SCRAPE_SECONDS}x${SAMPLES}`,
    },
    fires: {
      1: {},
      6: { HoldfastRecoveryFailing: {} },
      8: { HoldfastRecoveryFailing: {}, HoldfastOrphanedTooLong: {} },
    },
    values: {
      // The line as published counts attempts; what people mean is the second.
      'sum(rate(NS_vm_recovery_success_total[5m])) / sum(rate(NS_vm_recovery_attempts_total[5m]))': 0.2,
      [`sum(increase(NS_${EPISODES}{outcome="success"}[5m])) / sum(increase(NS_${EPISODES}{outcome=~"success|failure|timeout"}[5m]))`]: 0.5,
      'sum(NS_vm_orphans)': 1,
    },
  },
  {
    name: 'nine failures and a timeout beside ninety successes are 10 %, not more',
    series: {
      [`${EPISODES}{${REASON},outcome="success"}`]: from(2, 90),
      [`${EPISODES}{${REASON},outcome="failure"}`]: from(2, 9),
      [`${EPISODES}{${REASON},outcome="timeout"}`]: from(2, 1),
    },
    fires: { 5: {} },
  },
  {
    name: 'eleven failures beside eighty-nine successes, and nobody looks at what was cancelled',
    series: {
      [`${EPISODES}{${REASON},outcome="success"}`]: from(2, 89),
      [`${EPISODES}{${REASON},outcome="failure"}`]: from(2, 11),
      [`${EPISODES}{${REASON},outcome="cancelled"}`]: from(2, 1000),
    },
    fires: { 5: { HoldfastRecoveryFailing: {} }, 40: {} },
  },
  {
    name: 'only cancelled and self-recovered episodes',
    series: { [`${EPISODES}{${REASON},outcome="cancelled"}`]: from(2, 7), [`${EPISODES}{${REASON},outcome="self_recovered"}`]: from(2, 7) },
    fires: { 5: {} },
  },
  {
    name: 'a quarantine',
    series: { 'instances_quarantined{runtime="docker"}': from(2, 1) },
    fires: { 1: {}, 3: { HoldfastInstanceQuarantined: { runtime: 'docker' } } },
  },
  {
    name: 'the breaker opens and closes',
    series: { 'recovery_breaker_open{scope="node"}': between(2, 5, 1, 0) },
    fires: { 1: {}, 3: { HoldfastRecoveryBreakerOpen: { scope: 'node' } }, 7: {} },
  },
]

const FAILED = 'vm_health_check_failures_total{runtime="process"}'
const CHECKS: readonly RuleCase[] = [
  { name: 'four of a hundred checks fail', instances: 200, series: { [FAILED]: rising(4) }, fires: { 12: {} } },
  {
    name: 'six of a hundred checks fail',
    instances: 200,
    series: { [FAILED]: rising(6) },
    fires: { 3: {}, 12: { HoldfastHealthChecksFailing: {} } },
  },
  ...[10, 100, 1000].map((instances) => ({
    name: `one instance of ${instances} is ill for good`,
    instances,
    series: {
      [FAILED]: rising(0.5),
      'vm_orphans{reason="health_check_failed"}': flat(1),
      vm_oldest_orphan_age_seconds: rising(SCRAPE_SECONDS),
    },
    fires: { 3: {}, 12: { HoldfastHealthChecksFailing: {}, HoldfastOrphanedTooLong: {} } },
  })),
  ...[1, 1000].map((instances) => ({
    name: `a single check fails once in a fleet of ${instances}`,
    instances,
    series: { [FAILED]: from(2, 1) },
    fires: { 3: {}, 5: {}, 7: {}, 8: {} },
  })),
  {
    name: 'an instance is ill for a minute, well again, and ill again',
    instances: 100,
    series: { 'vm_orphans{reason="health_check_failed"}': `1x4 0x4 1x4 0x4 1x4 0x4 1x4 0x4 1x4 0x${SAMPLES}` },
    fires: { 4: {}, 8: {}, 10: {} },
  },
  {
    name: 'nobody checks any more',
    series: { 'vm_health_checks_total{runtime="process"}': from(2, 8) },
    fires: { 9: {}, 15: { HoldfastNoSuccessfulHealthCheck: {} } },
  },
  {
    name: 'every check fails',
    series: { [FAILED]: rising(5) },
    fires: { 3: {}, 15: { HoldfastNoSuccessfulHealthCheck: {}, HoldfastHealthChecksFailing: {} } },
  },
  {
    name: 'the first instances of all, eight minutes ago, and no check of them yet',
    instances: 0,
    series: { 'instances{runtime="process",state="running"}': from(10, 3), reliability_checked_vms_total: from(10, 3) },
    fires: { 12: {}, 18: {}, 25: { HoldfastNoSuccessfulHealthCheck: {} } },
  },
  {
    name: 'everything was stopped',
    series: {
      'vm_health_checks_total{runtime="process"}': from(2, 8),
      'instances{runtime="process",state="running"}': between(0.25, 6, 10, 0),
      reliability_checked_vms_total: between(0.25, 6, 10, 0),
    },
    fires: { 5: {}, 14: {}, 30: {} },
  },
  {
    name: 'health checks were switched off, and nothing was stopped',
    series: { 'vm_health_checks_total{runtime="process"}': from(2, 8), reliability_checked_vms_total: from(2, 0, 10) },
    fires: { 5: {}, 14: {}, 30: {} },
  },
]

const PLATFORM: readonly RuleCase[] = [
  {
    name: 'a runtime that answered does not any more',
    series: { 'runtime_healthy{runtime="docker"}': between(1, 5, 1, 0) },
    fires: { 4: {}, 5.5: {}, 8: { HoldfastRuntimeDown: { runtime: 'docker', job: 'holdfast', instance: 'node-1' } } },
  },
  {
    name: 'a runtime never answered, but has an instance',
    series: { 'instances{runtime="docker",state="preparing"}': flat(1) },
    fires: { 3: { HoldfastRuntimeDown: { runtime: 'docker', job: 'holdfast', instance: 'node-1' } } },
  },
  {
    name: 'a runtime that answered is away for half a minute',
    series: { 'runtime_healthy{runtime="process"}': `1x19 0x1 1x${SAMPLES}` },
    fires: { 5: {}, 6: {}, 7: {} },
  },
  { name: 'the last agent is gone', series: { agents_connected: from(2, 0, 1) }, fires: { 3: {}, 5: { HoldfastNoAgentConnected: {} } } },
  {
    name: 'the control plane is restarted within a minute',
    series: { agents_connected: between(2, 3, '_', 1) },
    fires: { 3: {}, 5: {} },
  },
  {
    name: 'the control plane is gone',
    series: { agents_connected: `1x8 stale _x${SAMPLES}` },
    fires: { 3: {}, 6: { HoldfastNoAgentConnected: {} } },
  },
]

const WAITING = 'gc_candidates{kind="stray",reason="unknown_to_control"}'
const GARBAGE: readonly RuleCase[] = [
  {
    name: 'strays are held back for more than half an hour, beside other garbage that goes',
    series: {
      [WAITING]: from(2, 3),
      'gc_candidates{kind="zombie",reason="ended"}': flat(2),
      'gc_deleted_total{kind="zombie",reason="ended"}': rising(0.1),
    },
    fires: { 30: {}, 34: { HoldfastGarbageNotCollected: { kind: 'stray', reason: 'unknown_to_control' } } },
  },
  {
    name: 'strays wait for their grace and go',
    series: { [WAITING]: between(2, 20, 3, 0), 'gc_deleted_total{kind="stray",reason="unknown_to_control"}': from(20, 3) },
    fires: { 10: {}, 30: {}, 75: {} },
  },
  {
    name: 'somebody asked for unused images, and let them be',
    series: { 'gc_candidates{kind="image",reason="unused"}': flat(4) },
    fires: { 75: {} },
  },
]

export const RULE_CASES: readonly RuleCase[] = [...QUIET, ...ORPHANS, ...RECOVERIES, ...CHECKS, ...PLATFORM, ...GARBAGE]
