// Processes that die one by one, in many ways, at moments that nobody's clock is in step with.
import { OK } from '../../base/result.ts'
import { order } from './heartbeat.ts'
import type { Target } from './host.ts'
import type { Rig, Strike } from './rig.ts'
import type { Scenario, ScenarioOptions } from './scenario.ts'
import { exponentialMs } from './statistics.ts'

/**
 * A second end within ten seconds of a start is a crash loop by design and waits half a minute; that class is `kill-during-recovery`. So
 * here only those are chosen that have run for eleven seconds.
 */
const STEADY_MS = 11_000
/** More than twenty ends in ten minutes are a quarantine by design: an instance is chosen at most this often in that time. */
const KILLS_MAX = 18
const WINDOW_MS = 10 * 60_000

const SIGNALS = ['SIGKILL', 'SIGTERM', 'SIGSEGV', 'SIGABRT'] as const
const CODES = [0, 1, 3] as const

interface Ending {
  readonly kind: string
  readonly cause: RegExp
  readonly apply: () => void | Promise<void>
}

/** One way of ending it, by chance; null: it is not surely ours at this moment. */
export function ending(rig: Rig, target: Target, port: number | null): Ending | null {
  const pid = rig.ownPid(target)
  if (pid === null || port === null) return null
  const choice = Math.floor(rig.random.fraction() * (SIGNALS.length + CODES.length))
  const signal = SIGNALS[choice]
  if (signal) return { kind: signal, cause: new RegExp(`ended by ${signal}`), apply: () => void process.kill(pid, signal) }
  const code = CODES[choice - SIGNALS.length] ?? 1
  return { kind: `exit ${code}`, cause: new RegExp(`exited with code ${code}\\b`), apply: () => order(port, `exit ${code}`) }
}

export const randomKills: Scenario = {
  name: 'random-kills',
  does: 'ends single processes with SIGKILL, SIGTERM, SIGSEGV, SIGABRT or exit 0, 1, 3, at Poisson arrivals',
  needs: 'this machine to be the node, and rights to signal its processes',
  control: false,
  usual: { instances: 10, faults: 20, everyMs: 2000, watchMs: 120_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(options.warmUpMs)
    await killOneByOne(rig, launched.value, options)
    return OK
  },
}

async function killOneByOne(rig: Rig, targets: readonly Target[], options: ScenarioOptions): Promise<void> {
  const ends = new Map<string, number[]>()
  const work: Promise<unknown>[] = []
  let made = 0
  while (made < options.faults) {
    await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
    const nowMs = rig.clock.elapsedMs()
    const fit = targets.filter(({ name }) => {
      const serving = rig.oracle.serving(name)
      const recent = (ends.get(name) ?? []).filter((atMs) => nowMs - atMs < WINDOW_MS)
      return serving !== null && nowMs - serving.sinceMs > STEADY_MS && recent.length < KILLS_MAX
    })
    const target = fit[Math.floor(rig.random.fraction() * fit.length)]
    const end = target && ending(rig, target, rig.oracle.port(target.name))
    if (!target || !end) continue
    const strike: Strike = { ...end, target, group: 'kill', expects: 'recovery', watchMs: options.watchMs }
    work.push(rig.strike(strike))
    ends.set(target.name, [...(ends.get(target.name) ?? []), nowMs])
    if (rig.faults.at(-1)?.warmUp === false) made += 1
  }
  await Promise.all(work)
}
