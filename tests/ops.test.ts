// What operators install, held against what the code serves: a renamed instrument, a forgotten page or a dead path fails here.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { VERBS } from '../src/cli/catalog.ts'
import { COMMON_FLAGS } from '../src/cli/flags.ts'
import { LIMITS as CONTROL_LIMITS } from '../src/control/limits.ts'
import { alertsOf, runbookOf } from '../tools/ops-alerts.ts'
import { dashboardText, opsFiles } from '../tools/ops-files.ts'
import { panelsOf } from '../tools/ops-panels.ts'
import { expressionFaults } from './support/promql.ts'
import { filesBelow, ROOT, readText } from './support/tree.ts'

const NAMESPACES = ['holdfast', 'unkey_metald']
const RUNBOOKS = 'docs/runbooks'
const pages = () => filesBelow(RUNBOOKS).filter((file) => file.endsWith('.md'))
const expressions = (namespace: string) => [
  ...alertsOf(namespace).map(({ expr }) => expr),
  ...panelsOf(namespace).flatMap(({ queries }) => queries.map(({ expr }) => expr)),
]

const Dashboard = z.object({
  uid: z.string().max(40),
  templating: z.object({ list: z.array(z.object({ name: z.string(), type: z.string() })) }),
  panels: z.array(
    z.object({
      id: z.number(),
      title: z.string(),
      gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
      datasource: z.object({ uid: z.string() }),
      fieldConfig: z.object({
        defaults: z.object({
          unit: z.string(),
          thresholds: z.object({ steps: z.array(z.object({ color: z.string(), value: z.number().nullable() })) }),
        }),
      }),
      targets: z.array(z.object({ refId: z.string(), expr: z.string() })).min(1),
    }),
  ),
})

describe('dashboard and alerts', () => {
  test('the committed files are what tools/ops-files.ts makes; mend: npx node tools/ops-files.ts', () => {
    const made = opsFiles('holdfast')
    for (const [file, text] of Object.entries(made)) expect(existsSync(path.join(ROOT, file)) && readText(file), file).toBe(text)
    const folders = ['ops/dashboards', 'ops/alerts']
    expect(folders.flatMap(filesBelow).filter((file) => !(file in made))).toEqual([])
  })
  test.each(NAMESPACES)('%s: every query reads instruments that exist, with labels and values that they have', (namespace) => {
    expect(expressions(namespace).flatMap((expr) => expressionFaults(expr, namespace))).toEqual([])
  })
  test('the reader of queries sees a misspelt instrument, label, value and grouping, and a bare histogram', () => {
    const faults = (expr: string) => expressionFaults(expr, 'holdfast').length
    expect(faults('sum by (reason) (rate(holdfast_vm_orphaned_total{reason="process_dead"}[5m]))')).toBe(0)
    for (const bad of [
      'holdfast_vm_orphans_total',
      'holdfast_vm_orphans{vm_id="x"}',
      'holdfast_vm_orphans{reason="dead"}',
      'sum by (vm_id) (holdfast_vm_orphans)',
      'sum by (le) (holdfast_vm_orphans)',
      'holdfast_vm_recovery_duration_seconds',
      'other_vm_orphans',
    ])
      expect(faults(bad), bad).toBeGreaterThan(0)
  })
  test('another namespace changes the names and nothing else', () => {
    for (const text of Object.values(opsFiles('unkey_metald'))) expect(text).not.toMatch(/\bholdfast_/)
    const renamed = Object.values(opsFiles('unkey_metald')).map((text) => text.replaceAll('unkey_metald', 'holdfast'))
    expect(renamed).toEqual(Object.values(opsFiles('holdfast')))
  })
  test('the promised panels are there, each with a data source to choose, a unit and its own place', () => {
    const { panels, templating } = Dashboard.parse(JSON.parse(dashboardText('holdfast')))
    const titles = panels.map(({ title }) => title)
    expect(titles).toEqual(
      expect.arrayContaining([
        'VM health',
        'Orphans',
        'Recovery success rate',
        'Recovery duration',
        'Health check failures by reason',
        'Recovery breakers',
        'Recovery queue',
      ]),
    )
    expect(templating.list).toMatchObject([{ name: 'datasource', type: 'datasource' }])
    expect(new Set(panels.map(({ datasource }) => datasource.uid))).toEqual(new Set(['$datasource']))
    for (const values of [titles, panels.map(({ id }) => id), panels.map(({ gridPos }) => `${gridPos.x} ${gridPos.y}`)])
      expect(new Set<string | number>(values).size).toBe(panels.length)
    expect(panels.filter(({ gridPos }) => gridPos.x + gridPos.w > 24)).toEqual([])
  })
  test('colours are the right way round: high success is green, many orphans are red', () => {
    const { panels } = Dashboard.parse(JSON.parse(dashboardText('holdfast')))
    const colourAt = (title: string, value: number) =>
      panels
        .find((panel) => panel.title === title)
        ?.fieldConfig.defaults.thresholds.steps.findLast((step) => step.value === null || value >= step.value)?.color
    const goodWhenHigh = ['Recovery success rate', 'Runtimes', 'Agents']
    for (const title of goodWhenHigh) expect([title, colourAt(title, 0), colourAt(title, 1)]).toEqual([title, 'red', 'green'])
    const badWhenHigh = [
      'Orphans',
      'Age of the oldest orphan',
      'Health check failure rate',
      'Recovery breakers',
      'Crash loops and quarantines',
    ]
    for (const title of badWhenHigh) expect([title, colourAt(title, 0), colourAt(title, 1000)]).toEqual([title, 'green', 'red'])
    // Where a panel and an alert are about the same number they agree on it.
    expect([colourAt('Age of the oldest orphan', 301), colourAt('Orphans', 6), colourAt('Health check failure rate', 0.06)]).toEqual([
      'red',
      'red',
      'red',
    ])
    for (const { fieldConfig } of panels) {
      const values = fieldConfig.defaults.thresholds.steps.map(({ value }) => value ?? Number.NEGATIVE_INFINITY)
      expect(values).toEqual([...values].sort((a, b) => a - b))
    }
  })
})

describe('runbooks', () => {
  test('each alert has its page and each page its alert', () => {
    expect([...pages()].sort()).toEqual(alertsOf('holdfast').map(runbookOf).sort())
  })
  test('each page says what it means in one sentence, what to look at, why, how to mend it, and when to wake somebody', () => {
    const bad = pages().flatMap((page) => {
      const text = readText(page)
      const [title, , meaning = ''] = text.split('\n')
      const parts = ['## Look first\n\n```sh\n', '## Likely causes\n', '## Fix\n', '## Wake somebody\n']
      return [
        ...(title === `# ${path.basename(page, '.md')}` ? [] : [`${page}: its title is not its alert`]),
        ...(meaning.startsWith('**It means:** ') ? [] : [`${page}: does not begin with what it means`]),
        ...parts.filter((part) => !text.includes(`\n${part}`)).map((part) => `${page}: no ${part.split('\n')[0]}`),
      ]
    })
    expect(bad).toEqual([])
  })
})

describe('units', () => {
  const UNITS = ['holdfast-server', 'holdfast-agent', 'holdfast-up']
  const RUNS_WORKLOADS = ['holdfast-agent', 'holdfast-up']
  /** Settings in force: the last one of a name counts. */
  const settings = (unit: string) => {
    const found = [...readText(`ops/systemd/${unit}.service`).matchAll(/^([A-Z]\w*)=(.*)$/gm)]
    return new Map(found.map(([, key = '', value = '']) => [key, value]))
  }

  test('there are three, and the page of operations has them', () => {
    expect(filesBelow('ops/systemd')).toEqual(UNITS.map((unit) => `ops/systemd/${unit}.service`).sort())
    for (const unit of UNITS) expect(readText('docs/operations.md')).toContain(`ops/systemd/${unit}.service`)
  })
  test.each(UNITS)('%s: only its own process is signalled, it is always started again, and the journal drops nothing', (unit) => {
    expect(Object.fromEntries(settings(unit))).toMatchObject({
      Type: 'exec',
      KillMode: 'process',
      KillSignal: 'SIGTERM',
      SendSIGKILL: 'yes',
      Restart: 'always',
      StartLimitIntervalSec: '0',
      OOMPolicy: 'continue',
      TasksMax: 'infinity',
      LimitNOFILE: '524288',
      StandardError: 'journal',
      LogRateLimitIntervalSec: '0',
      WantedBy: 'multi-user.target',
    })
    // Longer than what it ends by itself may take, or an orderly end is cut short.
    expect(Number(settings(unit).get('TimeoutStopSec'))).toBeGreaterThan(
      unit === 'holdfast-agent' ? 10 : CONTROL_LIMITS.closeMs / 1000 + 30,
    )
    expect(Number(settings(unit).get('RestartSec'))).toBeGreaterThanOrEqual(1)
  })
  test.each(RUNS_WORKLOADS)('%s: nothing that workloads would inherit or lose, and what is absent says why', (unit) => {
    const inherited =
      /^(OOMScoreAdjust|NoNewPrivileges|Private\w+|Protect\w+|Restrict\w+|SystemCall\w+|CapabilityBoundingSet|LockPersonality|MemoryDenyWriteExecute|MemoryMax|CPUQuota|User|UMask|ReadWritePaths)$/
    expect([...settings(unit).keys()].filter((key) => inherited.test(key))).toEqual([])
    expect(settings(unit).get('Delegate')).toContain('memory')
    const [, reasons = ''] = readText(`ops/systemd/${unit}.service`).split('# Absent on purpose:')
    for (const key of ['User', 'OOMScoreAdjust', 'NoNewPrivileges', 'ProtectSystem', 'PrivateTmp', 'SystemCallFilter', 'WatchdogSec'])
      expect(reasons, key).toContain(`${key}=`)
  })
  test('what a unit starts exists in a checkout, with the flags that the verbs have', () => {
    for (const unit of UNITS) {
      const [node = '', program = '', verb = '', ...flags] = (settings(unit).get('ExecStart') ?? '').split(' ')
      expect(node).toBe('/opt/holdfast/node_modules/.bin/node')
      expect(existsSync(path.join(ROOT, program.replace('/opt/holdfast/', '')))).toBe(true)
      const found = VERBS.find(({ name }) => name === verb)
      expect(`holdfast-${found?.name}`).toBe(unit)
      const known = [...Object.values(found?.flags ?? {}), ...Object.values(COMMON_FLAGS)].map(({ words }) => words.split(/[ ,]/)[0])
      for (const flag of flags.filter((word) => word.startsWith('--'))) expect(known, `${unit} ${flag}`).toContain(flag)
      expect(flags.at(-1)).toBe(`/var/lib/${settings(unit).get('StateDirectory')}`)
    }
  })
})

describe('what operators are told', () => {
  const documents = () => ['docs/operations.md', ...pages(), ...filesBelow('ops').filter((file) => file.endsWith('.md'))]
  const shell = (text: string) => [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map((found) => found[1] ?? '').join('')

  test('every verb in a command exists', () => {
    const known = new Set(VERBS.map(({ name }) => name))
    const used = documents().flatMap((file) =>
      [...shell(readText(file)).matchAll(/(?:^|; |&& )holdfast ([a-z]+)/gm)].map((found) => ({ file, verb: found[1] ?? '' })),
    )
    expect(used.length).toBeGreaterThan(10)
    expect(used.filter(({ verb }) => !known.has(verb))).toEqual([])
  })
  test('every path below the checkout exists', () => {
    const named = documents().flatMap((file) =>
      [...readText(file).matchAll(/(?<![\w./-])(?:\/opt\/holdfast\/)?((?:ops|docs|tools|src|tests|bin|examples)\/[\w./-]*\w)/g)].map(
        (found) => ({
          file,
          target: found[1] ?? '',
        }),
      ),
    )
    expect(named.length).toBeGreaterThan(5)
    expect(named.filter(({ target }) => !existsSync(path.join(ROOT, target)))).toEqual([])
  })
})
