// One machine, many instances: durable launches per second, agent restart with live processes, memory and processor time of an idle
// fleet. Usage: node bench/fleet.ts [processes=200] [launches=1000] [checks=exec|none]
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLIENTS, count, launch, restarted } from './support/instances.ts'
import { publish } from './support/machine.ts'
import { startPlatform } from './support/platform.ts'
import { summarise } from './support/stats.ts'
import { processorTime, pss } from './support/usage.ts'

const PROCESSES = Number(process.argv[2] ?? 200)
const LAUNCHES = Number(process.argv[3] ?? 1000)
const CHECKED = process.argv[4] !== 'none'
const CHECKS = CHECKED ? 'an exec check each 10 s' : 'no checks of their own'

const mib = (value: number) => Math.round(value * 10) / 10

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
