// Nothing is done to anybody, for a million health checks: whoever dies meanwhile, we have killed. The kernel's own list of processes, each
// with its start time, is the judge. Usage: node bench/soak.ts [instances=1000] [checks=1000000] [interval=2s]
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { workload } from '../src/cli/chaos/workload.ts'
import { all, count, launch } from './support/instances.ts'
import { publish } from './support/machine.ts'
import { checksDone } from './support/metrics.ts'
import { startPlatform } from './support/platform.ts'

const INSTANCES = Number(process.argv[2] ?? 1000)
const CHECKS = Number(process.argv[3] ?? 1_000_000)
const INTERVAL = process.argv[4] ?? '2s'
const LOOK_MS = 15_000

/** Of the process, since boot, in clock ticks; null when there is none, or only its zombie. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : (fields[19] ?? null)
  } catch {
    return null
  }
}

const platform = await startPlatform()
const rows: Record<string, unknown>[] = []
try {
  const { command, ports, stop, env } = workload({ name: 'soak', run: 'soak' })
  const health = [{ type: 'http', kind: 'live', port: 'beat', path: '/', interval: INTERVAL, timeout: INTERVAL }]
  const names = Array.from({ length: INSTANCES }, (_, index) => `soak-${index}`)
  await launch(platform, names, { command, ports, stop, env, health, memory: '16Mi' })
  while ((await count(platform, 'running')) < INSTANCES) await sleep(1000)
  const lives = (await all(platform, { state: 'running' })).map(({ name, pid }) => ({ name, pid: pid ?? 0, start: startOf(pid ?? 0) }))
  const [begunMs, atFirst] = [performance.now(), await checksDone(platform)]
  const loads: number[] = []
  let done = 0
  for (let tolds = 0; done < CHECKS; tolds += 1) {
    await sleep(LOOK_MS)
    done = (await checksDone(platform)) - atFirst
    loads.push(loadavg()[0] ?? 0)
    if (tolds % 20 === 0) console.error(`${done} checks, ${Math.round((performance.now() - begunMs) / 1000)} s, load ${loads.at(-1)}`)
  }
  const minutes = (performance.now() - begunMs) / 60_000
  const log = await readFile(join(platform.dataDir, 'holdfast.log'), 'utf8')
  const said = (msg: string) => log.split(`"msg":"${msg}"`).length - 1
  const ended = lives.filter(({ pid, start }) => start === null || startOf(pid) !== start)
  const after = await all(platform, {})
  rows.push({ what: 'instances; checks of them; minutes', value: `${lives.length}; ${done}; ${Math.round(minutes)}` })
  rows.push({ what: 'processes that are not the same as at the beginning', value: ended.length })
  rows.push({ what: 'instances with more than one incarnation', value: after.filter(({ incarnation }) => incarnation > 1).length })
  rows.push({ what: 'instances not running at the end', value: after.filter(({ state }) => state !== 'running').length })
  rows.push({ what: 'lines "orphaned vm detected"', value: said('orphaned vm detected') })
  rows.push({ what: 'lines "attempting vm recovery"', value: said('attempting vm recovery') })
  rows.push({ what: 'load, least and most', value: `${Math.min(...loads)} ${Math.max(...loads)}` })
} finally {
  await platform.stop()
}
publish('false actions while nothing is done to anybody', rows)
