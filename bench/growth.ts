// How the cost of watching grows with the number of instances, and what of it is the reliability subsystem: each size twice on the same
// processes, with `[reliability] enabled` and without, by SIGHUP; then a kill -9 of the platform and its start.
// Usage: node bench/growth.ts [sizes=100,300,1000,3000] [seconds=30]; each instance is `sleep` with an exec check each 10 s.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { count, launch, restarted } from './support/instances.ts'
import { publish } from './support/machine.ts'
import { checksDone } from './support/metrics.ts'
import { type Platform, startPlatform } from './support/platform.ts'
import { summarise } from './support/stats.ts'
import { processorTime, pss } from './support/usage.ts'

const SIZES = (process.argv[2] ?? '100,300,1000,3000').split(',').map(Number)
const SECONDS = Number(process.argv[3] ?? 30)
const SETTLE_MS = 15_000
const LISTS = 100

const rounded = (value: number) => Math.round(value * 10) / 10

async function lineOf(platform: Platform, msg: string, from: number): Promise<Record<string, unknown> | undefined> {
  const lines = (await readFile(join(platform.dataDir, 'holdfast.log'), 'utf8')).slice(from).split('\n')
  const found = lines.findLast((line) => line.includes(`"msg":"${msg}"`))
  return found === undefined ? undefined : JSON.parse(found)
}

async function reliability(platform: Platform, enabled: boolean): Promise<void> {
  const { length } = await readFile(join(platform.dataDir, 'holdfast.log'), 'utf8')
  await writeFile(join(platform.dataDir, 'holdfast.config.toml'), `[reliability]\nenabled = ${enabled}\n`)
  process.kill(platform.pid, 'SIGHUP')
  while (!(await lineOf(platform, 'configuration reloaded', length))) await sleep(50)
  await sleep(SETTLE_MS)
}

/** Shares of one core and checks per second over a quiet while, and the memory at its end. */
async function quiet(platform: Platform) {
  const [before, checksBefore, beginMs] = [processorTime(platform.pid), await checksDone(platform), performance.now()]
  await sleep(SECONDS * 1000)
  const [after, checksAfter] = [processorTime(platform.pid), await checksDone(platform)]
  const seconds = (performance.now() - beginMs) / 1000
  const share = (part: keyof typeof after) => ((after[part] - before[part]) / seconds) * 100
  return {
    platform: share('platform'),
    helpers: share('helpers'),
    postgres: share('postgres'),
    checks: (checksAfter - checksBefore) / seconds,
    mib: pss(platform.pid),
  }
}

async function one(size: number): Promise<Record<string, unknown>> {
  const platform = await startPlatform()
  try {
    const beginMs = performance.now()
    const names = Array.from({ length: size }, (_, index) => `idle-${index}`)
    await launch(platform, names, { health: [{ type: 'exec', kind: 'live', command: ['true'] }] })
    while ((await count(platform, 'running')) < size) await sleep(100)
    const launchedS = (performance.now() - beginMs) / 1000
    await sleep(SETTLE_MS)
    const on = await quiet(platform)
    await reliability(platform, false)
    const off = await quiet(platform)
    await reliability(platform, true)
    const lists: number[] = []
    for (let index = 0; index < LISTS; index += 1) {
      const atMs = performance.now()
      await platform.client.call('listInstances', { query: { limit: 50 } })
      lists.push(performance.now() - atMs)
    }
    const { length } = await readFile(join(platform.dataDir, 'holdfast.log'), 'utf8')
    const readyMs = await platform.restart()
    while (!(await lineOf(platform, 'agent started', length))) await sleep(50)
    const adoptedMs = Number((await lineOf(platform, 'agent started', length))?.duration_ms)
    await sleep(3000)
    const perCheckMs = ((on.platform + on.helpers - off.platform - off.helpers) / 100 / on.checks) * 1000
    return {
      instances: size,
      'launched, s': rounded(launchedS),
      'up, MiB': rounded(on.mib),
      'without, MiB': rounded(off.mib),
      'up, % core': rounded(on.platform),
      'without, % core ': rounded(off.platform),
      'keepers and commands, % core': rounded(on.helpers),
      'without, % core': rounded(off.helpers),
      'postgres, % core': rounded(on.postgres),
      'checks per s': rounded(on.checks),
      'a check, ms of processor': Math.round(perCheckMs * 100) / 100,
      'page of 50, p50 ms': summarise(lists).p50,
      'ready after kill -9, ms': Math.round(readyMs),
      'all adopted, ms': Math.round(adoptedMs),
      'restarted by that': await restarted(platform),
    }
  } finally {
    await platform.stop()
  }
}

const rows: Record<string, unknown>[] = []
for (const size of SIZES) {
  rows.push(await one(size))
  console.error(JSON.stringify(rows.at(-1)))
}
publish('growth with the number of instances', rows)
