// One machine, many instances: durable launches per second, agent restart with live processes, memory and processor time of an idle
// fleet. Usage: node bench/fleet.ts [processes=200] [launches=1000] [checks=exec|none]
import { readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { publish } from './support/machine.ts'
import { type Platform, startPlatform } from './support/platform.ts'
import { summarise } from './support/stats.ts'

const PROCESSES = Number(process.argv[2] ?? 200)
const LAUNCHES = Number(process.argv[3] ?? 1000)
const CHECKED = process.argv[4] !== 'none'
const CHECKS = CHECKED ? 'an exec check each 10 s' : 'no checks of their own'
const CLIENTS = 8

const pss = (pid: number) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) / 1024
interface Used {
  readonly parent: number
  readonly title: string
  /** Seconds of processor time of the process itself, and of its children that have ended. */
  readonly own: number
  readonly ended: number
}

/** USER_HZ is 100 on every Linux that Node runs on. */
function used(pid: number): Used | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const seconds = (from: number) => (Number(fields[from]) + Number(fields[from + 1])) / 100
    return { parent: Number(fields[1]), title: readFileSync(`/proc/${pid}/cmdline`, 'utf8'), own: seconds(11), ended: seconds(13) }
  } catch {
    // It has ended meanwhile.
    return null
  }
}

/** Seconds of processor time so far, apart: the platform's own process; PostgreSQL; keepers, and whoever forks commands, with those. */
function processorTime(root: number) {
  const all = new Map(
    readdirSync('/proc').flatMap((name) => {
      const one = /^\d+$/.test(name) ? used(Number(name)) : null
      return one ? [[Number(name), one] as const] : []
    }),
  )
  const below = (pid: number): boolean => {
    const parent = all.get(pid)?.parent ?? 0
    return parent === root || (parent > 1 && below(parent))
  }
  const main = all.get(root)
  const sum = { platform: main?.own ?? 0, postgres: 0, helpers: main?.ended ?? 0 }
  for (const [pid, { parent, title, own, ended }] of all) {
    if (!below(pid)) continue
    // Connections come and go; the time of those that have ended is with the first of its processes.
    if (title.includes('postgres')) sum.postgres += own + (title.startsWith('postgres:') ? 0 : ended)
    // A command that has ended is counted with the one who forked it; a keeper's children are the workload.
    else if (title.includes('keeper')) sum.helpers += own + (parent === root ? ended : 0)
  }
  return sum
}
const mib = (value: number) => Math.round(value * 10) / 10

async function count(platform: Platform, state: string): Promise<number> {
  let total = 0
  let cursor: string | undefined
  do {
    const page = await platform.client.call('listInstances', { query: { limit: 200, state, ...(cursor && { cursor }) } })
    if (!page.ok) throw new Error(page.error.detail)
    total += page.value.items.length
    cursor = page.value.next_cursor ?? undefined
  } while (cursor)
  return total
}

async function restarted(platform: Platform): Promise<number> {
  const page = await platform.client.call('listInstances', { query: { limit: 200 } })
  return page.ok ? page.value.items.filter((item) => item.incarnation > 1).length : Number.NaN
}

async function launch(
  platform: Platform,
  names: readonly string[],
  body: object,
): Promise<{ readonly perSecond: number; readonly latencies: readonly number[] }> {
  const waiting = [...names]
  const latencies: number[] = []
  const startMs = performance.now()
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let name = waiting.pop(); name; name = waiting.pop()) {
        const atMs = performance.now()
        const made = await platform.client.call('createInstance', { body: { name, command: ['sleep', '1000000'], memory: '4Mi', ...body } })
        if (!made.ok) throw new Error(`${name}: ${made.error.detail}`)
        latencies.push(performance.now() - atMs)
      }
    }),
  )
  return { perSecond: names.length / ((performance.now() - startMs) / 1000), latencies }
}

const rows: Record<string, unknown>[] = []
const platform = await startPlatform()
try {
  await sleep(3000)
  rows.push({ what: 'memory of holdfast up (control plane and agent), 0 instances, MiB PSS', value: mib(pss(platform.pid)) })
  // No node carries the label, so nothing is placed: this measures the durable write alone.
  const writes = await launch(
    platform,
    Array.from({ length: LAUNCHES }, (_, index) => `write-${index}`),
    { node_selector: { nowhere: 'x' } },
  )
  rows.push({ what: `POST /v1/instances, ${CLIENTS} clients, durable, per second`, value: Math.round(writes.perSecond) })
  rows.push({ what: 'POST /v1/instances, milliseconds', ...summarise(writes.latencies) })
  for (let index = 0; index < LAUNCHES; index += 1) await platform.client.call('deleteInstance', { params: { id: `write-${index}` } })

  const startMs = performance.now()
  await launch(
    platform,
    Array.from({ length: PROCESSES }, (_, index) => `idle-${index}`),
    CHECKED ? { health: [{ type: 'exec', kind: 'live', command: ['true'] }] } : {},
  )
  while ((await count(platform, 'running')) < PROCESSES) await sleep(100)
  rows.push({ what: `${PROCESSES} processes launched and running, seconds`, value: Math.round((performance.now() - startMs) / 100) / 10 })
  await sleep(15_000)
  rows.push({ what: `memory of holdfast up, ${PROCESSES} instances, MiB PSS`, value: mib(pss(platform.pid)) })
  const before = processorTime(platform.pid)
  await sleep(30_000)
  const after = processorTime(platform.pid)
  for (const [part, what] of [
    ['platform', 'of holdfast up itself'],
    ['helpers', 'of keepers and of the commands of checks'],
    ['postgres', 'of PostgreSQL'],
  ] as const)
    rows.push({
      what: `processor time ${what}, ${PROCESSES} idle instances with ${CHECKS}, % of one core`,
      value: mib(((after[part] - before[part]) / 30) * 100),
    })
  rows.push({ what: `memory of holdfast up after that, ${PROCESSES} instances, MiB PSS`, value: mib(pss(platform.pid)) })
  const log = await readFile(join(platform.dataDir, 'holdfast.log'), 'utf8')
  rows.push({
    what: 'log lines above debug while idle',
    value: log.split('\n').filter((line) => line.includes('"level":"warn"') || line.includes('"level":"error"')).length,
  })
  const readyMs = await platform.restart()
  await sleep(3000)
  const again = await readFile(join(platform.dataDir, 'holdfast.log'), 'utf8')
  const adoption = again
    .split('\n')
    .filter((line) => line.includes('"agent started"'))
    .at(-1)
  rows.push({
    what: `kill -9 of holdfast up, then start until ready with ${PROCESSES} live processes, milliseconds`,
    value: Math.round(readyMs),
  })
  rows.push({
    what: `of that: agent start, all ${PROCESSES} re-adopted, milliseconds`,
    value: Math.round(Number(/"duration_ms":([0-9.]+)/.exec(adoption ?? '')?.[1])),
  })
  rows.push({ what: 'instances with more than one incarnation afterwards', value: await restarted(platform) })
} finally {
  await platform.stop()
}
publish('one machine, many instances', rows)
