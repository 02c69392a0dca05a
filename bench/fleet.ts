// One machine, many instances: durable launches per second, agent restart with live processes, memory and processor time of an idle
// fleet with checks. Usage: node bench/fleet.ts [processes=200] [launches=1000]
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { publish } from './support/machine.ts'
import { type Platform, startPlatform } from './support/platform.ts'
import { summarise } from './support/stats.ts'

const PROCESSES = Number(process.argv[2] ?? 200)
const LAUNCHES = Number(process.argv[3] ?? 1000)
const CLIENTS = 8

const pss = (pid: number) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) / 1024
/** Seconds of processor time of one process; USER_HZ is 100 on every Linux that Node runs on. */
const cpuSeconds = (pid: number) => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
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
    { health: [{ type: 'exec', kind: 'live', command: ['true'] }] },
  )
  while ((await count(platform, 'running')) < PROCESSES) await sleep(100)
  rows.push({ what: `${PROCESSES} processes launched and running, seconds`, value: Math.round((performance.now() - startMs) / 100) / 10 })
  await sleep(15_000)
  rows.push({ what: `memory of holdfast up, ${PROCESSES} instances, MiB PSS`, value: mib(pss(platform.pid)) })
  const before = cpuSeconds(platform.pid)
  await sleep(30_000)
  rows.push({
    what: `processor time, ${PROCESSES} idle instances with an exec check each 10 s, % of one core`,
    value: mib(((cpuSeconds(platform.pid) - before) / 30) * 100),
  })
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
