// Names of all instruments, without the namespace. interface.md fixes them; ops files and tests read them from here.
// Never an instance id, org id or free text in a label.

interface MetricRow {
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
}
const metric = (kind: MetricRow['kind'], labels: readonly string[], help: string): MetricRow => ({ kind, labels, help })

export const METRICS = {
  vm_health_checks_total: metric('counter', ['runtime'], 'Health checks run'),
  vm_health_check_failures_total: metric('counter', ['runtime'], 'Health checks that failed'),
  vm_health_check_failures_by_reason_total: metric('counter', ['runtime', 'reason'], 'Health checks that failed, by reason'),
  vm_health_check_duration_seconds: metric('histogram', ['runtime'], 'How long a health check took'),
  reliability_healthy_vms_total: metric('gauge', [], 'Instances now healthy'),
  reliability_unhealthy_vms_total: metric('gauge', [], 'Instances now unhealthy'),
  reliability_checked_vms_total: metric('gauge', [], 'Instances now running whose health is being checked'),
  vm_orphaned_total: metric('counter', ['reason'], 'Orphans detected'),
  vm_recovery_attempts_total: metric('counter', ['reason'], 'Recovery attempts'),
  vm_recovery_success_total: metric('counter', ['reason'], 'Recovery attempts that succeeded'),
  vm_recovery_episodes_total: metric('counter', ['reason', 'outcome'], 'Recovery episodes ended'),
  vm_recovery_duration_seconds: metric('histogram', ['outcome'], 'From detection to the end of the episode'),
  vm_orphans: metric('gauge', ['reason'], 'Instances now orphaned'),
  vm_oldest_orphan_age_seconds: metric('gauge', [], 'Age of the oldest orphan'),
  recovery_breaker_open: metric(
    'gauge',
    ['scope'],
    'Breakers now open: 0 or 1 for the node, and how many instances are quarantined for ending too often',
  ),
  recoveries_running: metric('gauge', [], 'Recoveries now running'),
  recoveries_queued: metric('gauge', [], 'Recoveries waiting for their turn'),
  instances: metric('gauge', ['runtime', 'state'], 'Instances by runtime and state'),
  instance_crash_loops: metric('gauge', ['runtime'], 'Instances now crash looping'),
  instances_quarantined: metric('gauge', ['runtime'], 'Instances now quarantined'),
  hook_runs_total: metric('counter', ['hook', 'outcome'], 'Runs of the program for hooks'),
  gc_deleted_total: metric('counter', ['kind', 'reason'], 'Resources collected'),
  gc_candidates: metric('gauge', ['kind', 'reason'], 'Resources waiting to be collected'),
  apply_duration_seconds: metric('histogram', ['runtime'], 'From the start of an attempt to running'),
  delete_duration_seconds: metric('histogram', ['runtime'], 'From the wish to delete to gone'),
  reconcile_duration_seconds: metric('histogram', [], 'One reconcile pass'),
  errors_total: metric('counter', ['code'], 'Typed errors'),
  runtime_healthy: metric('gauge', ['runtime'], '1 while the runtime answers'),
  agents_connected: metric('gauge', [], 'Agents connected'),
  agent_last_seen_age_seconds: metric('gauge', [], 'Age of the oldest last message of an agent'),
  node_cpu_ratio: metric('gauge', [], 'CPU in use, 0..1'),
  node_memory_ratio: metric('gauge', [], 'Memory in use, 0..1'),
  node_disk_ratio: metric('gauge', ['path'], 'Disk in use, 0..1'),
  node_stall_ratio: metric('gauge', ['resource'], 'Share of the last 10 s in which some task waited for the resource (PSI), 0..1'),
  http_requests_total: metric('counter', ['route', 'method', 'status'], 'HTTP requests; status is its class'),
  http_request_duration_seconds: metric('histogram', ['route', 'method', 'status'], 'HTTP request duration'),
} as const satisfies Record<string, MetricRow>

export type MetricName = keyof typeof METRICS

/** Why an instance is an orphan: a closed set, because it is a label. */
export const ORPHAN_REASONS = ['process_dead', 'socket_unreachable', 'health_check_failed', 'process_mismatch'] as const

/** Seconds: 1 ms to 10 s for checks and requests, up to the 10 min budget for recoveries. */
export const DURATION_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const
export const EPISODE_BUCKETS_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600] as const

/** What code may do with instruments; src/telemetry implements it on OpenTelemetry, tests on a map. */
export interface Meter {
  count(name: MetricName, labels?: Readonly<Record<string, string>>, by?: number): void
  observe(name: MetricName, seconds: number, labels?: Readonly<Record<string, string>>): void
  /** Read at each scrape. */
  gauge(name: MetricName, read: () => readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[]): void
}
