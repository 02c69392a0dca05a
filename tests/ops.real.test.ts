// The alert rules by the program that will run them: each fires for its fault, and for nothing else. The units by systemd's own checker.
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { METRICS, type MetricName } from '../src/contracts/metrics.ts'
import { initialLabelSets } from '../src/telemetry/label-values.ts'
import { type Alert, alertsOf, rulesText, runbookOf } from '../tools/ops-alerts.ts'
import { describeNeeds } from './support/needs.ts'
import { fleet, RULE_CASES, type RuleCase, SAMPLES, SCRAPE_SECONDS } from './support/rule-cases.ts'
import { tmpDir } from './support/tmp.ts'
import { filesBelow, ROOT, readText } from './support/tree.ts'

const run = promisify(execFile)
const NAMESPACES = ['holdfast', 'unkey_metald']
const DEADLINE_MS = 60_000
/** As long as the longest play. */
const ZERO = `0x${SAMPLES}`
const TARGET = 'job="holdfast",instance="node-1"'

/** Every metric that an alert reads, as a process serves it from its start: each closed label set with zero. */
function zeros(namespace: string): Readonly<Record<string, string>> {
  const text = alertsOf(namespace)
    .map(({ expr }) => expr)
    .join('\n')
  const read = (Object.keys(METRICS) as MetricName[]).filter((name) => new RegExp(`\\b${namespace}_${name}\\b`).test(text))
  return Object.fromEntries(
    read.flatMap((name) =>
      initialLabelSets(name, METRICS[name].labels).map((labels) => {
        const inner = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
        return [inner.length === 0 ? name : `${name}{${inner.join(',')}}`, ZERO] as const
      }),
    ),
  )
}

function seriesOf(namespace: string, given: RuleCase): readonly { readonly series: string; readonly values: string }[] {
  const all = { ...zeros(namespace), ...fleet(given.instances ?? 10), ...given.series }
  return Object.entries(all).map(([selector, values]) => {
    const [name, labels = ''] = selector.replace('}', '').split('{')
    return { series: `${namespace}_${name}{${[labels, TARGET].filter((part) => part !== '').join(',')}}`, values }
  })
}

/** All rules are asked at each time: those that the case does not name must be silent. */
function playOf(namespace: string, given: RuleCase): object {
  const names = Object.values(given.fires).flatMap((firing) => Object.keys(firing))
  const unknown = names.filter((name) => !alertsOf(namespace).some((alert) => alert.name === name))
  if (unknown.length > 0) throw new Error(`${given.name}: no such alert: ${unknown.join(', ')}`)
  return {
    name: given.name,
    interval: `${SCRAPE_SECONDS}s`,
    input_series: seriesOf(namespace, given),
    alert_rule_test: Object.entries(given.fires).flatMap(([minute, firing]) =>
      alertsOf(namespace).map((alert) => ({
        eval_time: `${Number(minute) * 60}s`,
        alertname: alert.name,
        exp_alerts: firing[alert.name] === undefined ? [] : [expected(alert, firing[alert.name] ?? {})],
      })),
    ),
    promql_expr_test: Object.entries(given.values ?? {}).map(([expr, value]) => ({
      expr: `round(${expr.replaceAll('NS_', `${namespace}_`)}, 0.000001)`,
      eval_time: '5m',
      exp_samples: [{ labels: '{}', value }],
    })),
  }
}

function expected(alert: Alert, labels: Readonly<Record<string, string>>): object {
  const filled = (text: string) => text.replace(/\{\{ \$labels\.(\w+) \}\}/g, (_, label: string) => labels[label] ?? '')
  return {
    exp_labels: { ...labels, severity: alert.severity },
    exp_annotations: { summary: filled(alert.summary), description: filled(alert.description), runbook_url: runbookOf(alert) },
  }
}

describeNeeds('prometheus', 'alert rules', () => {
  test.each(NAMESPACES)('%s: promtool finds nothing wrong with the rules', async (namespace) => {
    const file = path.join(await tmpDir(), 'rules.yml')
    await writeFile(file, rulesText(namespace))
    const { stdout } = await run('promtool', ['check', 'rules', '--lint=all', '--lint-fatal', file])
    expect(stdout).toContain(`SUCCESS: ${alertsOf(namespace).length} rules found`)
  })

  test('every alert has a case in which it fires', () => {
    const fired = new Set(RULE_CASES.flatMap(({ fires }) => Object.values(fires).flatMap((firing) => Object.keys(firing))))
    expect(
      alertsOf('holdfast')
        .map(({ name }) => name)
        .filter((name) => !fired.has(name)),
    ).toEqual([])
  })

  test.each(NAMESPACES)(
    'T40: %s: each alert fires for its fault and no other one does; a quiet fleet of any size and an empty one are silent',
    async (namespace) => {
      const dir = await tmpDir()
      await writeFile(path.join(dir, 'rules.yml'), rulesText(namespace))
      const plays = {
        rule_files: ['rules.yml'],
        evaluation_interval: `${SCRAPE_SECONDS}s`,
        tests: RULE_CASES.map((one) => playOf(namespace, one)),
      }
      await writeFile(path.join(dir, 'plays.yml'), stringify(plays, { aliasDuplicateObjects: false }))
      const { stdout } = await run('promtool', ['test', 'rules', 'plays.yml'], { cwd: dir, timeout: DEADLINE_MS }).catch(
        (error: unknown) => {
          throw new Error(
            error instanceof Error && 'stdout' in error ? `${error.stdout}${'stderr' in error ? error.stderr : ''}` : String(error),
          )
        },
      )
      expect(stdout).toContain('SUCCESS')
    },
    DEADLINE_MS,
  )
})

describeNeeds('systemd-analyze', 'units', () => {
  /** As it would be installed, with this checkout in the place of /opt/holdfast, because programs must exist. Everything it says is a fault. */
  async function verified(text: string): Promise<string> {
    const file = path.join(await tmpDir(), 'holdfast-unit.service')
    await writeFile(file, text.replaceAll('/opt/holdfast', ROOT))
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', file]).catch((error: unknown) => ({
      stdout: '',
      stderr: String(error),
    }))
    // Units of the machine itself may be broken; only what is said of ours counts.
    return `${stdout}${stderr}`
      .split('\n')
      .filter((line) => line.includes('holdfast-unit'))
      .join('\n')
  }
  const units = filesBelow('ops/systemd')

  test.each(units)('%s: systemd understands every line', async (unit) => {
    expect(await verified(readText(unit))).toBe('')
  })
  test('the checker sees a misspelt setting, a bad value and a program that is not there', async () => {
    const text = readText(units[0] ?? '')
    for (const [right, wrong] of [
      ['KillMode=', 'KillMod='],
      ['Restart=always', 'Restart=sometimes'],
      ['.bin/node ', '.bin/nod '],
    ] as const)
      expect(await verified(text.replace(right, wrong)), wrong).not.toBe('')
  })
})
