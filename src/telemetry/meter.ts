// The instruments of contracts/metrics.ts on the OpenTelemetry SDK, rendered as Prometheus text.
// Promised: names are exactly `{namespace}_{name}`; labels are exactly those of the table; every bounded label set exists from the
// start with zero; a gauge is read at each render, and one that nobody registered does not appear.
import type { Attributes, Counter, Histogram } from '@opentelemetry/api'
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import {
  AggregationType,
  type DataPoint,
  DataPointType,
  type HistogramMetricData,
  MeterProvider,
  type MetricData,
  MetricReader,
  type ViewOptions,
} from '@opentelemetry/sdk-metrics'
import { assert } from '../base/assert.ts'
import { DURATION_BUCKETS_SECONDS, EPISODE_BUCKETS_SECONDS, METRICS, type Meter, type MetricName } from '../contracts/metrics.ts'
import { initialLabelSets } from './label-values.ts'

type Labels = Readonly<Record<string, string>>
type Read = Parameters<Meter['gauge']>[1]

export interface Telemetry {
  readonly meter: Meter
  /** Prometheus text of every instrument. */
  render(): Promise<string>
}

export interface TelemetryOptions {
  readonly namespace: string
  /** Name of the OpenTelemetry scope; not part of the text. */
  readonly scope?: string
}

// The SDK folds everything above its default of 2,000 label sets into one, silently. Ours are bounded by their tables; this
// is the last line of defence, not the bound.
const LABEL_SETS_MAX = 20_000
const NAMESPACE = /^[a-zA-Z][a-zA-Z0-9_]{0,62}$/
const NAMES = Object.keys(METRICS) as MetricName[]

/** Recoveries and deletions may take minutes; checks, requests and reconcile passes do not. */
const LONG: ReadonlySet<MetricName> = new Set(['vm_recovery_duration_seconds', 'apply_duration_seconds', 'delete_duration_seconds'])
const bucketsOf = (name: MetricName): readonly number[] => (LONG.has(name) ? EPISODE_BUCKETS_SECONDS : DURATION_BUCKETS_SECONDS)

/** Collects only when asked: there is no exporter, no timer and nothing to shut down. */
class PullReader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}
}

export function isMetricsNamespace(text: string): boolean {
  // The text format knows no double underscore in what the serializer writes, so a namespace with one would come out renamed.
  return NAMESPACE.test(text) && !text.includes('__') && !text.endsWith('_')
}

export function createTelemetry(options: TelemetryOptions): Telemetry {
  assert(isMetricsNamespace(options.namespace), `metrics namespace ${JSON.stringify(options.namespace)}`)
  const reader = new PullReader()
  const provider = new MeterProvider({ readers: [reader], views: views(options.namespace) })
  const otel = provider.getMeter(options.scope ?? 'holdfast')
  const counters = new Map<MetricName, Counter>()
  const histograms = new Map<MetricName, Histogram>()
  const reads = new Map<MetricName, Read[]>()
  const full = (name: MetricName) => `${options.namespace}_${name}`

  for (const name of NAMES) {
    const { kind, help, labels } = METRICS[name]
    if (kind === 'counter') {
      const counter = otel.createCounter(full(name), { description: help })
      for (const set of initialLabelSets(name, labels)) counter.add(0, set)
      counters.set(name, counter)
    } else if (kind === 'histogram') {
      histograms.set(name, otel.createHistogram(full(name), { description: help }))
    } else {
      const gauge = otel.createObservableGauge(full(name), { description: help })
      gauge.addCallback((result) => {
        for (const [attributes, value] of gaugePoints(name, reads.get(name))) result.observe(value, attributes)
      })
    }
  }

  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true)
  return {
    meter: {
      count(name, labels = {}, by = 1) {
        const counter = counters.get(name)
        assert(counter, `${name} is not a counter`)
        checkLabels(name, labels)
        counter.add(by, labels)
      },
      observe(name, seconds, labels = {}) {
        const histogram = histograms.get(name)
        assert(histogram, `${name} is not a histogram`)
        checkLabels(name, labels)
        histogram.record(seconds, labels)
      },
      gauge(name, read) {
        assert(METRICS[name].kind === 'gauge', `${name} is not a gauge`)
        reads.set(name, [...(reads.get(name) ?? []), read])
      },
    },
    async render() {
      const { resourceMetrics } = await reader.collect()
      const scopeMetrics = resourceMetrics.scopeMetrics.map((scope) => ({ ...scope, metrics: withZeroHistograms(scope.metrics, full) }))
      return serializer.serialize({ ...resourceMetrics, scopeMetrics })
    },
  }
}

function views(namespace: string): ViewOptions[] {
  const histograms = NAMES.filter((name) => METRICS[name].kind === 'histogram')
  const others = NAMES.filter((name) => METRICS[name].kind !== 'histogram')
  return [
    ...histograms.map((name) => ({
      instrumentName: `${namespace}_${name}`,
      aggregationCardinalityLimit: LABEL_SETS_MAX,
      aggregation: { type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM, options: { boundaries: [...bucketsOf(name)] } } as const,
    })),
    ...others.map((name) => ({ instrumentName: `${namespace}_${name}`, aggregationCardinalityLimit: LABEL_SETS_MAX })),
  ]
}

/** A wrong label is our mistake, and would be a new series for ever. */
function checkLabels(name: MetricName, labels: Labels): void {
  const known: readonly string[] = METRICS[name].labels
  const given = Object.keys(labels)
  assert(
    given.length === known.length && given.every((label) => known.includes(label)),
    `labels of ${name}: ${given.join(', ') || 'none'} instead of ${known.join(', ') || 'none'}`,
  )
}

/** All readers together; where two report the same label set the later one counts. */
function gaugePoints(name: MetricName, reads: readonly Read[] | undefined): readonly (readonly [Labels, number])[] {
  if (reads === undefined) return []
  const labels: readonly string[] = METRICS[name].labels
  const points = new Map<string, readonly [Labels, number]>()
  const keyOf = (set: Labels) => JSON.stringify(labels.map((label) => set[label]))
  if (labels.length > 0) for (const set of initialLabelSets(name, labels)) points.set(keyOf(set), [set, 0])
  for (const point of reads.flatMap((read) => read())) {
    const set = point.labels ?? {}
    checkLabels(name, set)
    points.set(keyOf(set), [set, point.value])
  }
  return [...points.values()]
}

/** A histogram has no zero to record, so label sets without an observation get an empty point here, and one without any a family. */
function withZeroHistograms(metrics: readonly MetricData[], full: (name: MetricName) => string): MetricData[] {
  const rest = metrics.filter((metric) => metric.dataPointType !== DataPointType.HISTOGRAM)
  const seen = new Map(
    metrics.flatMap((metric) => (metric.dataPointType === DataPointType.HISTOGRAM ? [[metric.descriptor.name, metric] as const] : [])),
  )
  const template = rest[0]
  assert(template, 'there is always a counter')
  const filled = NAMES.filter((name) => METRICS[name].kind === 'histogram').flatMap((name): MetricData[] => {
    const metric = seen.get(full(name))
    const sets = initialLabelSets(name, METRICS[name].labels)
    const present = new Set(metric?.dataPoints.map((point) => canonical(point.attributes)))
    const missing = sets.filter((set) => !present.has(canonical(set))).map((set) => emptyPoint(name, set))
    const dataPoints = [...(metric?.dataPoints ?? []), ...missing]
    if (dataPoints.length === 0) return []
    const base: HistogramMetricData = metric ?? {
      descriptor: { ...template.descriptor, name: full(name), description: METRICS[name].help },
      aggregationTemporality: template.aggregationTemporality,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: [],
    }
    return [{ ...base, dataPoints }]
  })
  return [...rest, ...filled]
}

const canonical = (attributes: Attributes) => JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)))

function emptyPoint(name: MetricName, attributes: Labels): DataPoint<HistogramMetricData['dataPoints'][number]['value']> {
  const boundaries = [...bucketsOf(name)]
  return {
    startTime: [0, 0],
    endTime: [0, 0],
    attributes,
    value: { buckets: { boundaries, counts: boundaries.map(() => 0).concat(0) }, sum: 0, count: 0 },
  }
}
