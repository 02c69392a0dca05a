// What a PromQL expression names, read without a parser: enough to hold our own queries against the table of instruments.
import { METRICS, type MetricName } from '../../src/contracts/metrics.ts'
import { initialLabelSets } from '../../src/telemetry/label-values.ts'

/** Labels that Prometheus itself puts on every series. */
const TARGET_LABELS = ['job', 'instance']

interface Selector {
  readonly metric: MetricName
  readonly suffix: string
  readonly matchers: readonly { readonly label: string; readonly operator: string; readonly value: string }[]
}

const isMetric = (name: string): name is MetricName => name in METRICS

/** Faults of an expression: instruments that do not exist, labels that they do not have, values that they never have. */
export function expressionFaults(expr: string, namespace: string): readonly string[] {
  const faults: string[] = []
  const selectors = [...expr.matchAll(new RegExp(`\\b${namespace}_([a-z_]+)(?:\\{([^}]*)\\})?`, 'g'))].flatMap((found): Selector[] => {
    const read = instrumentOf(found[1] ?? '')
    if (read === undefined) faults.push(`no instrument ${found[0]}`)
    return read === undefined ? [] : [{ ...read, matchers: matchersOf(found[2] ?? '') }]
  })
  if (selectors.length === 0) faults.push(`reads no instrument of ${namespace}: ${expr}`)
  for (const { metric, matchers } of selectors) faults.push(...matchers.flatMap((matcher) => matcherFaults(metric, matcher)))
  const known = new Set([
    ...selectors.flatMap(({ metric, suffix }) => [...METRICS[metric].labels, ...(suffix === '_bucket' ? ['le'] : [])]),
    ...TARGET_LABELS,
  ])
  const grouped = [...expr.matchAll(/\b(?:by|on|without|ignoring) \(([^)]*)\)/g)].flatMap((found) => (found[1] ?? '').split(/,\s*/))
  return [...faults, ...grouped.filter((label) => !known.has(label)).map((label) => `no label ${label} in ${expr}`)]
}

function instrumentOf(name: string): Pick<Selector, 'metric' | 'suffix'> | undefined {
  if (isMetric(name)) return METRICS[name].kind === 'histogram' ? undefined : { metric: name, suffix: '' }
  const [, metric = '', suffix = ''] = /^(.*?)(_bucket|_sum|_count)$/.exec(name) ?? []
  return isMetric(metric) && METRICS[metric].kind === 'histogram' ? { metric, suffix } : undefined
}

const matchersOf = (inner: string) =>
  [...inner.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)].map(([, label = '', operator = '', value = '']) => ({ label, operator, value }))

function matcherFaults(metric: MetricName, { label, operator, value }: Selector['matchers'][number]): readonly string[] {
  const labels: readonly string[] = METRICS[metric].labels
  if (!labels.includes(label)) return [`${metric} has no label ${label}`]
  const values = new Set(initialLabelSets(metric, labels).map((set) => set[label]))
  const wanted = operator.endsWith('~') ? value.split('|') : [value]
  // An open label set (paths, scopes) has no values to compare with.
  return values.size === 0 ? [] : wanted.filter((one) => !values.has(one)).map((one) => `${metric} never has ${label}="${one}"`)
}
