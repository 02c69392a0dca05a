// The dashboard, for any namespace: what is shown, in which unit, and from where on it is bad. Everything is added up over all processes
// that are scraped, so that both sides of a division have the same labels. tests/e2e/prometheus.real.test.ts runs every query.

export interface Query {
  readonly expr: string
  readonly legend: string
}

export interface Step {
  readonly color: 'green' | 'yellow' | 'red'
  /** From this value on; null = from below everything. */
  readonly value: number | null
}

export interface Panel {
  readonly title: string
  readonly description: string
  readonly unit: 'short' | 's' | 'percentunit' | 'cps'
  readonly steps: readonly Step[]
  /** Ends of the axis, where they are fixed. */
  readonly min: number
  readonly max?: number
  readonly queries: readonly Query[]
}

/** Up from the first value on is bad. */
const badAbove = (yellow: number, red: number): readonly Step[] => [
  { color: 'green', value: null },
  { color: 'yellow', value: yellow },
  { color: 'red', value: red },
]
/** Anything above zero is bad. */
const badAtOne: readonly Step[] = [
  { color: 'green', value: null },
  { color: 'red', value: 1 },
]
/** Less than that is bad. */
const badBelow = (yellow: number, green: number): readonly Step[] => [
  { color: 'red', value: null },
  { color: 'yellow', value: yellow },
  { color: 'green', value: green },
]
const neutral: readonly Step[] = [{ color: 'green', value: null }]

export function panelsOf(namespace: string): readonly Panel[] {
  const name = (metric: string) => `${namespace}_${metric}`
  return [...healthPanels(name), ...recoveryPanels(name), ...platformPanels(name), ...residuePanels(name)]
}

function healthPanels(name: (metric: string) => string): readonly Panel[] {
  return [
    {
      title: 'VM health',
      description: 'Instances that run and are well, and instances that should run and are not.',
      unit: 'short',
      steps: neutral,
      min: 0,
      queries: [
        { expr: `sum(${name('reliability_healthy_vms_total')})`, legend: 'healthy' },
        { expr: `sum(${name('reliability_unhealthy_vms_total')})`, legend: 'unhealthy' },
      ],
    },
    {
      title: 'Orphans',
      description: 'Instances that should run and have lost their runtime object, by what gave them away.',
      unit: 'short',
      steps: badAbove(1, 6),
      min: 0,
      queries: [
        { expr: `sum(${name('vm_orphans')})`, legend: 'all' },
        { expr: `sum by (reason) (${name('vm_orphans')})`, legend: '{{reason}}' },
      ],
    },
    {
      title: 'Age of the oldest orphan',
      description: 'How long the instance that has waited longest has been without a working runtime object.',
      unit: 's',
      steps: badAbove(60, 300),
      min: 0,
      queries: [{ expr: `max(${name('vm_oldest_orphan_age_seconds')})`, legend: 'oldest' }],
    },
    {
      title: 'Health check failures by reason',
      description: 'Failed checks per second.',
      unit: 'cps',
      steps: neutral,
      min: 0,
      queries: [
        {
          expr: `sum by (reason) (rate(${name('vm_health_check_failures_by_reason_total')}[$__rate_interval]))`,
          legend: '{{reason}}',
        },
      ],
    },
    {
      title: 'Health check failure rate',
      description: 'Share of all checks that failed.',
      unit: 'percentunit',
      steps: badAbove(0.01, 0.05),
      min: 0,
      max: 1,
      queries: [
        {
          expr: `sum(rate(${name('vm_health_check_failures_total')}[$__rate_interval])) / sum(rate(${name('vm_health_checks_total')}[$__rate_interval]))`,
          legend: 'failing',
        },
      ],
    },
  ]
}

function recoveryPanels(name: (metric: string) => string): readonly Panel[] {
  const episodes = (outcome: string) => `sum(increase(${name('vm_recovery_episodes_total')}{outcome=~"${outcome}"}[1h]))`
  const duration = (quantile: string, outcome: string) =>
    `histogram_quantile(${quantile}, sum by (le) (increase(${name('vm_recovery_duration_seconds_bucket')}{outcome=~"${outcome}"}[1h])))`
  return [
    {
      title: 'Recovery success rate',
      description: 'Of the last hour. An episode is one recovery from loss to verified or given up; it may take several attempts.',
      unit: 'percentunit',
      steps: badBelow(0.9, 0.99),
      min: 0,
      max: 1,
      queries: [
        { expr: `${episodes('success')} / ${episodes('success|failure|timeout')}`, legend: 'episodes' },
        {
          expr: `sum(increase(${name('vm_recovery_success_total')}[1h])) / sum(increase(${name('vm_recovery_attempts_total')}[1h]))`,
          legend: 'attempts',
        },
      ],
    },
    {
      title: 'Recovery duration',
      description: 'From detection to the end of the episode, over the last hour. Given up: failures and timeouts.',
      unit: 's',
      steps: badAbove(10, 60),
      min: 0,
      queries: [
        { expr: duration('0.5', 'success'), legend: 'success, median' },
        { expr: duration('0.95', 'success'), legend: 'success, 95 %' },
        { expr: duration('0.5', 'failure|timeout'), legend: 'given up, median' },
      ],
    },
    {
      title: 'Recovery breakers',
      description:
        'Open ones: nodes on which automatic recoveries pause, instances that are only tried once in a while because they ended too often.',
      unit: 'short',
      steps: badAtOne,
      min: 0,
      queries: [{ expr: `sum by (scope) (${name('recovery_breaker_open')})`, legend: '{{scope}}' }],
    },
    {
      title: 'Recovery queue',
      description: 'Recoveries under way, and those that wait for their turn.',
      unit: 'short',
      steps: neutral,
      min: 0,
      queries: [
        { expr: `sum(${name('recoveries_running')})`, legend: 'running' },
        { expr: `sum(${name('recoveries_queued')})`, legend: 'queued' },
      ],
    },
    {
      title: 'Crash loops and quarantines',
      description: 'Instances that end again and again, and those that are only tried once in a while any more.',
      unit: 'short',
      steps: badAtOne,
      min: 0,
      queries: [
        { expr: `sum(${name('instance_crash_loops')})`, legend: 'crash looping' },
        { expr: `sum(${name('instances_quarantined')})`, legend: 'quarantined' },
      ],
    },
  ]
}

function platformPanels(name: (metric: string) => string): readonly Panel[] {
  return [
    {
      title: 'Runtimes',
      description: '1 while every node that has the runtime gets answers from it.',
      unit: 'short',
      steps: badBelow(0.5, 1),
      min: 0,
      max: 1,
      queries: [{ expr: `min by (runtime) (${name('runtime_healthy')})`, legend: '{{runtime}}' }],
    },
    {
      title: 'Agents',
      description: 'Agents connected to the control plane.',
      unit: 'short',
      steps: badBelow(0.5, 1),
      min: 0,
      queries: [{ expr: `sum(${name('agents_connected')})`, legend: 'connected' }],
    },
    {
      title: 'Silence of the quietest agent',
      description: 'Time since the last message of the agent that has been silent longest. After 20 s its node is taken for lost.',
      unit: 's',
      steps: badAbove(10, 20),
      min: 0,
      queries: [{ expr: `max(${name('agent_last_seen_age_seconds')})`, legend: 'quietest' }],
    },
  ]
}

function residuePanels(name: (metric: string) => string): readonly Panel[] {
  return [
    {
      title: 'Failed instances',
      description:
        'Those that their node does not try again: one-shots that ended badly, what never started, what cannot be mended by trying.',
      unit: 'short',
      steps: neutral,
      min: 0,
      queries: [{ expr: `sum by (runtime) (${name('instances')}{state="failed"})`, legend: '{{runtime}}' }],
    },
    {
      title: 'Garbage waiting',
      description: 'What nobody needs any more and has not been collected: it waits for its grace, its turn, or a person.',
      unit: 'short',
      steps: neutral,
      min: 0,
      queries: [{ expr: `sum by (kind, reason) (${name('gc_candidates')})`, legend: '{{kind}} {{reason}}' }],
    },
    {
      title: 'Garbage collected',
      description: 'Of the last hour. Strays are rare: many at once mean a node or a database that lost its memory.',
      unit: 'short',
      steps: neutral,
      min: 0,
      queries: [{ expr: `sum by (kind, reason) (increase(${name('gc_deleted_total')}[1h]))`, legend: '{{kind}} {{reason}}' }],
    },
  ]
}
