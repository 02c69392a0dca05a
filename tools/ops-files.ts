// Writes ops/dashboards/holdfast.json and ops/alerts/holdfast.rules.yml: `npx node tools/ops-files.ts`. tests/ops.test.ts fails when
// they differ from what this makes. With another metrics.namespace: `npx node tools/ops-files.ts --namespace NAME --out DIR`.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isMetricsNamespace } from '../src/telemetry/meter.ts'
import { rulesText } from './ops-alerts.ts'
import { type Panel, panelsOf } from './ops-panels.ts'

const COLUMNS = 3
/** Of the 24 units that Grafana's grid is wide. */
const PANEL_WIDTH = 24 / COLUMNS
const PANEL_HEIGHT = 8
const DATASOURCE = { type: 'prometheus', uid: '$datasource' }

/** A Grafana dashboard to import: it asks for the Prometheus to read, and nothing else. */
export function dashboardText(namespace: string): string {
  const dashboard = {
    uid: `${namespace}-reliability`.slice(0, 40),
    title: `Reliability (${namespace})`,
    tags: ['holdfast'],
    editable: true,
    graphTooltip: 1,
    schemaVersion: 36,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    templating: { list: [{ name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', current: {}, hide: 0 }] },
    panels: panelsOf(namespace).map(panelModel),
  }
  return `${JSON.stringify(dashboard, null, 2)}\n`
}

function panelModel(panel: Panel, index: number): object {
  return {
    id: index + 1,
    type: 'timeseries',
    title: panel.title,
    description: panel.description,
    datasource: DATASOURCE,
    gridPos: {
      x: (index % COLUMNS) * PANEL_WIDTH,
      y: Math.floor(index / COLUMNS) * PANEL_HEIGHT,
      w: PANEL_WIDTH,
      h: PANEL_HEIGHT,
    },
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        min: panel.min,
        ...(panel.max !== undefined && { max: panel.max }),
        thresholds: { mode: 'absolute', steps: panel.steps },
        custom: { thresholdsStyle: { mode: panel.steps.length > 1 ? 'line' : 'off' } },
      },
      overrides: [],
    },
    options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi' } },
    targets: panel.queries.map((query, place) => ({
      refId: String.fromCharCode(65 + place),
      datasource: DATASOURCE,
      expr: query.expr,
      legendFormat: query.legend,
      range: true,
    })),
  }
}

/** Path below the checkout (or DIR) and content of each file. */
export function opsFiles(namespace: string): Readonly<Record<string, string>> {
  return {
    [`ops/dashboards/${namespace}.json`]: dashboardText(namespace),
    [`ops/alerts/${namespace}.rules.yml`]: rulesText(namespace),
  }
}

function write(): void {
  const { values } = parseArgs({ options: { namespace: { type: 'string', default: 'holdfast' }, out: { type: 'string' } } })
  const { namespace } = values
  if (!isMetricsNamespace(namespace))
    throw new Error(`--namespace ${namespace}: letters, digits and single underscores, beginning with a letter`)
  for (const [path, text] of Object.entries(opsFiles(namespace))) {
    const target = join(values.out ?? join(import.meta.dirname, '..'), path)
    mkdirSync(join(target, '..'), { recursive: true })
    writeFileSync(target, text)
  }
}

if (import.meta.main) write()
