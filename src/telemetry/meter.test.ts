import { expect, test } from 'vitest'
import { GARBAGE } from '../contracts/garbage.ts'
import { METRICS, type MetricName } from '../contracts/metrics.ts'
import { createTelemetry, isMetricsNamespace } from './meter.ts'

/** `name{labels}` to value, and the families by name: a parser of the text format of its own, so that it does not share mistakes. */
function parse(text: string): { series: Map<string, number>; types: Map<string, string> } {
  const series = new Map<string, number>()
  const types = new Map<string, string>()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP')) continue
    const type = /^# TYPE (\S+) (\S+)$/.exec(line)
    if (type) types.set(type[1]!, type[2]!)
    else {
      const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$/.exec(line)
      expect(sample, `not a sample: ${line}`).not.toBeNull()
      const key = `${sample![1]}${sample![2] ?? ''}`
      expect(series.has(key), `twice: ${key}`).toBe(false)
      series.set(key, Number(sample![3]))
    }
  }
  return { series, types }
}

const gaugesWithoutLabels = (Object.keys(METRICS) as MetricName[]).filter((name) => METRICS[name].kind === 'gauge')

test('names are the namespace and the name of the table, nothing doubled, nothing added', async () => {
  const { meter, render } = createTelemetry({ namespace: 'unkey_metald' })
  for (const name of gaugesWithoutLabels) meter.gauge(name, () => [])
  meter.gauge('reliability_healthy_vms_total', () => [{ value: 3 }])
  meter.count('http_requests_total', { route: '/v1/instances', method: 'GET', status: '2xx' })
  const { types, series } = parse(await render())
  const known = new Set(Object.keys(METRICS).map((name) => `unkey_metald_${name}`))
  for (const name of types.keys()) expect(known.has(name), name).toBe(true)
  expect(types.get('unkey_metald_vm_orphaned_total')).toBe('counter')
  expect(types.get('unkey_metald_reliability_healthy_vms_total')).toBe('gauge')
  expect(series.get('unkey_metald_reliability_healthy_vms_total')).toBe(3)
  expect([...series.keys()].filter((key) => /otel|_total_total|_seconds_seconds/.test(key))).toEqual([])
})

test('bounded label sets exist from the start with zero, histograms too', async () => {
  const { series } = parse(await createTelemetry({ namespace: 'holdfast' }).render())
  expect(series.get('holdfast_vm_orphaned_total{reason="process_dead"}')).toBe(0)
  expect(series.get('holdfast_vm_health_check_failures_by_reason_total{runtime="docker",reason="socket_unreachable"}')).toBe(0)
  expect(series.get('holdfast_vm_recovery_episodes_total{reason="process_mismatch",outcome="self_recovered"}')).toBe(0)
  expect(series.get('holdfast_errors_total{code="store_unavailable"}')).toBe(0)
  expect(series.get('holdfast_vm_recovery_duration_seconds_count{outcome="timeout"}')).toBe(0)
  expect(series.get('holdfast_vm_recovery_duration_seconds_bucket{outcome="timeout",le="+Inf"}')).toBe(0)
  expect(series.get('holdfast_reconcile_duration_seconds_count')).toBe(0)
})

test('the duration of requests begins at zero for each route that is timed, and not at all for those that last as long as one listens', async () => {
  const { series } = parse(await createTelemetry({ namespace: 'holdfast' }).render())
  const timed = (route: string, method: string, status: string) =>
    series.get(`holdfast_http_request_duration_seconds_count{route="${route}",method="${method}",status="${status}"}`)
  for (const status of ['2xx', '4xx', '5xx']) expect(timed('/v1/instances', 'POST', status), status).toBe(0)
  expect(timed('/v1/instances/:id/logs', 'GET', '2xx')).toBeUndefined()
  expect(timed('/v1/events', 'GET', '2xx')).toBeUndefined()
})

test('B31: an observation lands in its bucket once and leaves the other label sets at zero', async () => {
  const { meter, render } = createTelemetry({ namespace: 'holdfast' })
  meter.observe('vm_recovery_duration_seconds', 45, { outcome: 'success' })
  meter.count('vm_orphaned_total', { reason: 'process_dead' }, 2)
  const { series } = parse(await render())
  expect(series.get('holdfast_vm_recovery_duration_seconds_bucket{outcome="success",le="30"}')).toBe(0)
  expect(series.get('holdfast_vm_recovery_duration_seconds_bucket{outcome="success",le="60"}')).toBe(1)
  expect(series.get('holdfast_vm_recovery_duration_seconds_sum{outcome="success"}')).toBe(45)
  expect(series.get('holdfast_vm_recovery_duration_seconds_count{outcome="failure"}')).toBe(0)
  expect(series.get('holdfast_vm_orphaned_total{reason="process_dead"}')).toBe(2)
})

test('two readers of one gauge add up to one series per label set', async () => {
  const { meter, render } = createTelemetry({ namespace: 'holdfast' })
  meter.gauge('instances', () => [{ labels: { runtime: 'docker', state: 'running' }, value: 4 }])
  meter.gauge('instances', () => [{ labels: { runtime: 'docker', state: 'pending' }, value: 1 }])
  const { series } = parse(await render())
  expect(series.get('holdfast_instances{runtime="docker",state="running"}')).toBe(4)
  expect(series.get('holdfast_instances{runtime="docker",state="pending"}')).toBe(1)
  expect(series.get('holdfast_instances{runtime="process",state="lost"}')).toBe(0)
})

test('more label sets than the SDK default are all kept', async () => {
  const { meter, render } = createTelemetry({ namespace: 'holdfast' })
  for (let index = 0; index < 3000; index += 1) meter.count('gc_deleted_total', { kind: `k${index}`, reason: 'r' })
  const { series } = parse(await render())
  expect([...series.keys()].filter((key) => key.startsWith('holdfast_gc_deleted_total'))).toHaveLength(3000 + GARBAGE.length)
})

test('T39: the series count is the same after 1,000 instances came and went', async () => {
  const { meter, render } = createTelemetry({ namespace: 'holdfast' })
  const live = new Set<number>()
  meter.gauge('instances', () => [{ labels: { runtime: 'process', state: 'running' }, value: live.size }])
  const before = parse(await render()).series.size
  for (let index = 0; index < 1000; index += 1) {
    live.add(index)
    meter.count('vm_health_checks_total', { runtime: 'process' })
    meter.count('vm_orphaned_total', { reason: 'process_dead' })
    meter.observe('apply_duration_seconds', 0.01, { runtime: 'process' })
    meter.observe('delete_duration_seconds', 0.01, { runtime: 'process' })
    live.delete(index)
  }
  expect(parse(await render()).series.size).toBe(before)
})

test('a label that is not in the table is our mistake and throws', () => {
  const { meter } = createTelemetry({ namespace: 'holdfast' })
  expect(() => meter.count('vm_orphaned_total', { instance_id: 'inst_1' })).toThrow(/labels of vm_orphaned_total/)
  expect(() => meter.observe('vm_orphaned_total', 1)).toThrow(/not a histogram/)
})

test('a namespace the text format would rename is refused', () => {
  expect(isMetricsNamespace('unkey_metald')).toBe(true)
  for (const text of ['', '9a', 'a-b', 'a__b', 'a_', 'a b']) expect(isMetricsNamespace(text), text).toBe(false)
})
