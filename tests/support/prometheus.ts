// A Prometheus of the test's own: port and directory to itself, scraping as fast as it can, with our rules or none.
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { stringify } from 'yaml'
import { z } from 'zod'
import { tmpDir } from './tmp.ts'
import { waitFor } from './wait.ts'

const START_MS = 20_000
/** Also the time that an answer may take: a busy machine must not look like a dead platform. */
const SCRAPE = '1s'

const Sample = z.object({ metric: z.record(z.string(), z.string()), value: z.tuple([z.number(), z.string()]) })
const Answer = z.discriminatedUnion('status', [
  z.object({ status: z.literal('success'), data: z.object({ resultType: z.string(), result: z.array(Sample) }) }),
  z.object({ status: z.literal('error'), error: z.string() }),
])
const Alerts = z.object({
  data: z.object({ alerts: z.array(z.object({ state: z.string(), labels: z.record(z.string(), z.string()) })) }),
})
const Rules = z.object({
  data: z.object({
    groups: z.array(z.object({ rules: z.array(z.object({ name: z.string(), health: z.string(), lastError: z.string().optional() })) })),
  }),
})
const Targets = z.object({ data: z.object({ activeTargets: z.array(z.object({ health: z.string() })) }) })

export interface Measured {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Prometheus {
  /** An instant query; a query that Prometheus refuses is an error. */
  query(expr: string): Promise<readonly Measured[]>
  /** Names of the alerts that fire now, each once, in order. */
  firing(): Promise<readonly string[]>
  /** The rules as Prometheus sees them: name and what went wrong in the last evaluation. */
  rules(): Promise<readonly { readonly name: string; readonly fault: string | null }[]>
}

/** Ends with the test. `rules`: text of a rule file. Returns when its first scrape has succeeded. */
export async function prometheus(target: string, rules: string | null): Promise<Prometheus> {
  const dir = await tmpDir()
  await mkdir(join(dir, 'data'))
  if (rules !== null) await writeFile(join(dir, 'rules.yml'), rules)
  const { host } = new URL(target)
  const config = {
    global: { scrape_interval: SCRAPE, scrape_timeout: SCRAPE, evaluation_interval: SCRAPE },
    rule_files: rules === null ? [] : ['rules.yml'],
    scrape_configs: [{ job_name: 'holdfast', static_configs: [{ targets: [host] }] }],
  }
  await writeFile(join(dir, 'prometheus.yml'), stringify(config))
  const child = spawn(
    '/usr/bin/prometheus',
    [
      `--config.file=${dir}/prometheus.yml`,
      `--storage.tsdb.path=${dir}/data`,
      '--web.listen-address=127.0.0.1:0',
      '--query.lookback-delta=3s',
    ],
    { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += String(chunk)
  })
  const address = await waitFor(() => /msg="Listening on" address=(\S+)/.exec(said)?.[1], {
    what: 'Prometheus listens',
    deadlineMs: START_MS,
  })
  const get = async (path: string): Promise<unknown> => (await fetch(`http://${address}/api/v1/${path}`)).json()
  await waitFor(async () => Targets.parse(await get('targets')).data.activeTargets[0]?.health === 'up', {
    what: 'the first scrape succeeds',
    deadlineMs: START_MS,
  })
  return {
    async query(expr) {
      const answer = Answer.parse(await get(`query?query=${encodeURIComponent(expr)}`))
      if (answer.status === 'error') throw new Error(`${expr}: ${answer.error}`)
      return answer.data.result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1].replace('Inf', 'Infinity')) }))
    },
    async firing() {
      const { alerts } = Alerts.parse(await get('alerts')).data
      return [...new Set(alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname ?? ''))].sort()
    },
    async rules() {
      const { groups } = Rules.parse(await get('rules')).data
      return groups
        .flatMap((group) => group.rules)
        .map(({ name, health, lastError }) => ({ name, fault: health === 'ok' ? null : (lastError ?? health) }))
    },
  }
}

/** The same rules with every minute made a second: what takes ten minutes of a real fault is seen in ten seconds. */
export function hurried(rules: string): string {
  return rules
    .replaceAll(/\b(\d+)m\b/g, '$1s')
    .replaceAll('[5s:15s]', '[5s:1s]')
    .replaceAll(/(oldest_orphan_age_seconds\) >) 300/g, '$1 5')
}
