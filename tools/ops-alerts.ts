// The alert rules, for any namespace. Each has its page in docs/runbooks; tests/ops.real.test.ts lets each of them fire and keep silent.
// Written down once here: `npx node tools/ops-files.ts` makes ops/alerts/holdfast.rules.yml from it.
import { stringify } from 'yaml'

export interface Alert {
  /** Also the name of its page in docs/runbooks. */
  readonly name: string
  readonly expr: string
  /** How long it must be so. Absent: at once, because the expression itself looks back. */
  readonly for?: string
  readonly severity: 'critical' | 'warning'
  readonly summary: string
  readonly description: string
}

export const runbookOf = (alert: Pick<Alert, 'name'>): string => `docs/runbooks/${alert.name}.md`

/** In the order of urgency within each group: what concerns instances, then what concerns the platform itself. */
export function alertsOf(namespace: string): readonly Alert[] {
  const name = (metric: string) => `${namespace}_${metric}`
  return [...instanceAlerts(name), ...platformAlerts(name)]
}

function instanceAlerts(name: (metric: string) => string): readonly Alert[] {
  return [
    {
      name: 'HoldfastOrphanedTooLong',
      // An age, not a count or a share: one forgotten instance of ten thousand is as late as one of one.
      expr: `max(${name('vm_oldest_orphan_age_seconds')}) > 300`,
      severity: 'critical',
      summary: 'An instance that should run has not run for more than 5 minutes',
      description: 'At least one instance has been without a working runtime object for more than 5 minutes.',
    },
    {
      name: 'HoldfastManyOrphans',
      expr: `sum(${name('vm_orphans')}) > 5`,
      // A mass death that is healed within seconds is no news; the age of a single one is watched by itself.
      for: '1m',
      severity: 'critical',
      summary: 'More than 5 instances that should run do not',
      description: 'More than 5 instances have been orphaned at the same time for a minute.',
    },
    {
      name: 'HoldfastRecoveryFailing',
      // Whole episodes, not attempts: one that succeeds at the third attempt is a success. Cancelled and self-recovered ones are neither.
      expr: lines(
        `sum(increase(${name('vm_recovery_episodes_total')}{outcome=~"failure|timeout"}[30m]))`,
        `/ sum(increase(${name('vm_recovery_episodes_total')}{outcome=~"success|failure|timeout"}[30m])) > 0.1`,
      ),
      for: '1m',
      severity: 'warning',
      summary: 'More than 10 % of the recoveries of the last 30 minutes failed',
      description: 'Of the recovery episodes that ended in success, failure or timeout within 30 minutes, more than 10 % did not succeed.',
    },
    {
      name: 'HoldfastHealthChecksFailing',
      // The share alone depends on the size of the fleet: one instance that is ill for good is 10 % of ten and 1 % of a hundred.
      // The second half sees that one whatever stands beside it.
      expr: lines(
        `sum(rate(${name('vm_health_check_failures_total')}[5m])) / sum(rate(${name('vm_health_checks_total')}[5m])) > 0.05`,
        `or min_over_time(sum(${name('vm_orphans')}{reason="health_check_failed"})[5m:15s]) > 0`,
      ),
      for: '5m',
      severity: 'warning',
      summary: 'Health checks fail: more than 5 % of all, or those of one instance all the time',
      description: 'For 5 minutes more than 5 % of all health checks have failed, or at least one instance has been ill without a break.',
    },
    {
      name: 'HoldfastNoSuccessfulHealthCheck',
      // Where nothing is checked, because nothing runs or somebody switched checks off, no success is missed.
      expr: lines(
        `sum(increase(${name('vm_health_checks_total')}[10m])) - sum(increase(${name('vm_health_check_failures_total')}[10m])) < 0.5`,
        `and sum(${name('reliability_checked_vms_total')}) > 0`,
        `and sum(${name('reliability_checked_vms_total')} offset 10m) > 0`,
      ),
      for: '1m',
      severity: 'critical',
      summary: 'No health check has succeeded for 10 minutes, although instances are to be checked',
      description:
        'Instances run and are to be checked, now and 10 minutes ago, and not one health check of any of them succeeded in between.',
    },
    {
      name: 'HoldfastInstanceQuarantined',
      expr: `sum by (runtime) (${name('instances_quarantined')}) > 0`,
      severity: 'warning',
      summary: 'An instance of runtime {{ $labels.runtime }} is quarantined',
      description: 'All attempts to bring back an instance of runtime {{ $labels.runtime }} failed. It gets one trial start at a time.',
    },
  ]
}

function platformAlerts(name: (metric: string) => string): readonly Alert[] {
  return [
    {
      name: 'HoldfastRecoveryBreakerOpen',
      expr: `sum by (scope) (${name('recovery_breaker_open')}) > 0`,
      severity: 'critical',
      summary: 'A recovery breaker is open (scope {{ $labels.scope }})',
      description: 'Recoveries kept failing, or an instance kept ending. In scope {{ $labels.scope }} only trials are made for now.',
    },
    {
      name: 'HoldfastRuntimeDown',
      // A runtime that was never usable on a node is not down: a node without Docker is a node without Docker.
      expr: lines(
        `${name('runtime_healthy')} == 0`,
        `and (max_over_time(${name('runtime_healthy')}[1d]) == 1`,
        `or on (job, instance, runtime) sum by (job, instance, runtime) (${name('instances')}{state!="deleted"}) > 0)`,
      ),
      for: '1m',
      severity: 'critical',
      summary: 'Runtime {{ $labels.runtime }} does not answer at {{ $labels.instance }}',
      description:
        'Runtime {{ $labels.runtime }} at {{ $labels.instance }} answered within the last day or has instances, and does not answer now.',
    },
    {
      name: 'HoldfastNoAgentConnected',
      // absent(): the control plane itself may be what is gone, and then nobody counts agents.
      expr: lines(`sum(${name('agents_connected')}) == 0`, `or absent(${name('agents_connected')})`),
      for: '2m',
      severity: 'critical',
      summary: 'No agent is connected to the control plane',
      description: 'The control plane has no agent, or its metrics cannot be read. What runs keeps running and is healed by its node.',
    },
    {
      name: 'HoldfastGarbageNotCollected',
      // Where things come and go some garbage always waits for its grace; that none of it goes is what is wrong. Images wait for people.
      expr: lines(
        `sum by (kind, reason) (${name('gc_candidates')}{kind!="image"}) > 0`,
        `unless on (kind, reason) sum by (kind, reason) (increase(${name('gc_deleted_total')}[60m])) > 0`,
      ),
      for: '30m',
      severity: 'warning',
      summary: 'Garbage of kind {{ $labels.kind }} ({{ $labels.reason }}) waits and is not collected',
      description:
        'For half an hour there has been garbage of kind {{ $labels.kind }}, reason {{ $labels.reason }}, and none was collected within the last hour.',
    },
  ]
}

const lines = (...given: readonly string[]) => given.join('\n')

/** The rule file. `runbook_url` is relative to the checkout: whoever serves the pages elsewhere puts their address before it. */
export function rulesText(namespace: string): string {
  const rules = alertsOf(namespace).map((alert) => ({
    alert: alert.name,
    expr: alert.expr,
    ...(alert.for !== undefined && { for: alert.for }),
    labels: { severity: alert.severity },
    annotations: { summary: alert.summary, description: alert.description, runbook_url: runbookOf(alert) },
  }))
  const head = [
    '# Made by `npx node tools/ops-files.ts` from tools/ops-alerts.ts; edit it there.',
    '# Another namespace (metrics.namespace): npx node tools/ops-files.ts --namespace NAME --out DIR',
  ]
  return `${head.join('\n')}\n${stringify({ groups: [{ name: namespace, rules }] }, { lineWidth: 0 })}`
}
