// Processes that die at bad moments: again while they start, all at once, in the middle of being made, or without end.
import { readdirSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { OK } from '../../base/result.ts'
import { eachOnce } from './each-once.ts'
import type { Target } from './host.ts'
import { environmentOf } from './own-process.ts'
import type { Rig } from './rig.ts'
import type { Scenario } from './scenario.ts'
import { signalIfAlive } from './signal.ts'
import { exponentialMs } from './statistics.ts'
import { CHAOS_MARK } from './workload.ts'

const BY_KILL = /ended by SIGKILL/
const HERE = 'this machine to be the node, and rights to signal its processes'

export const killDuringRecovery: Scenario = {
  name: 'kill-during-recovery',
  does: 'kills a process, and its successor within its first second, before it is proven',
  needs: HERE,
  control: false,
  usual: { instances: 5, faults: 5, everyMs: 2000, watchMs: 120_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    await eachOnce(rig, launched.value, options, (target) => killTwice(rig, target, options.watchMs))
    return OK
  },
}

async function killTwice(rig: Rig, target: Target, watchMs: number): Promise<void> {
  const afterMs = rig.random.fraction() * 900
  // Not asked why: the second kill would have to wait for it.
  const { cause: _asked, ...first } = kill(rig, target)
  const struck = await rig.strike({ ...first, group: 'first kill', watchMs: 30_000 })
  if (struck.recoveredMs === null) return
  await rig.clock.sleep(afterMs)
  // One more end of the same episode.
  await rig.strike({ ...kill(rig, target), group: 'kill during recovery', orphans: false, watchMs })
}

const kill = (rig: Rig, target: Target) => {
  const pid = rig.ownPid(target)
  const apply = () => {
    if (pid !== null) process.kill(pid, 'SIGKILL')
  }
  return { target, kind: 'SIGKILL', expects: 'recovery', cause: BY_KILL, apply } as const
}

export const massKill: Scenario = {
  name: 'mass-kill',
  does: 'kills every instance in the same moment',
  needs: HERE,
  control: false,
  usual: { instances: 50, faults: 1, everyMs: 1000, watchMs: 120_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
    await Promise.all(
      launched.value.map((target) => rig.strike({ ...kill(rig, target), group: 'mass kill', watchMs: options.watchMs, whyAfterMs: 1000 })),
    )
    return OK
  },
}

export const midCreate: Scenario = {
  name: 'mid-create',
  does: 'launches instances and kills the first process of each as soon as the kernel shows it',
  needs: HERE,
  control: false,
  usual: { instances: 1, faults: 5, everyMs: 500, watchMs: 120_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'bystander', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    for (let made = 0; made < options.faults; made += 1) {
      const name = `mid-${rig.run}-${made}`
      const mark = `${rig.run}-mid-${made}`
      const added = await rig.add(name, { ...options.launch, env: { CHAOS_BIRTH: mark } })
      if (!added.ok) return added
      const pid = await newborn(rig, mark)
      if (pid === null) continue
      await rig.strike({
        target: added.value,
        kind: 'SIGKILL at birth',
        group: 'killed while being made',
        expects: 'recovery',
        cause: BY_KILL,
        apply: () => signalIfAlive(pid, 'SIGKILL'),
        watchMs: options.watchMs,
      })
      await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
    }
    return OK
  },
}

const BIRTH_WITHIN_MS = 10_000

/** The process that has this mark in its environment, as soon as there is one. */
async function newborn(rig: Rig, mark: string): Promise<number | null> {
  const deadlineMs = rig.clock.elapsedMs() + BIRTH_WITHIN_MS
  // Process ids rise: what was there before need not be read again.
  const seen = new Set(readdirSync('/proc'))
  while (rig.clock.elapsedMs() < deadlineMs) {
    for (const entry of readdirSync('/proc')) {
      if (seen.has(entry) || !/^\d+$/.test(entry)) continue
      const own = environmentOf(entry)
      if (own.includes(`CHAOS_BIRTH=${mark}`) && own.includes(`${CHAOS_MARK}=${rig.run}`) && Number(entry) > 1) return Number(entry)
    }
    await rig.clock.sleep(1)
  }
  return null
}

const STARTS_MAX = 6
const LOOP_WATCH_MS = 30_000

export const crashLoop: Scenario = {
  name: 'crash-loop',
  does: 'launches instances that end 300 ms after each start: starts have to become rare, and the others stay untouched',
  needs: 'this machine to be the node (each start leaves a mark in a file)',
  control: false,
  usual: { instances: 2, faults: 2, everyMs: 200, watchMs: 90_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'bystander', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    await Promise.all(
      Array.from({ length: options.faults }, async (_, index) => {
        const dir = await mkdtemp(path.join(tmpdir(), `chaos-starts-${rig.run}-`))
        const file = path.join(dir, 'starts')
        const mounts = options.launch.runtime === 'docker' ? { mounts: [{ source: dir, target: dir }] } : {}
        const env = { CHAOS_LIFE_MS: '300', CHAOS_STARTS: file }
        rig.atEnd(() => rm(dir, { recursive: true, force: true }))
        const added = await rig.add(`loop-${rig.run}-${index}`, { ...options.launch, ...mounts, env })
        if (!added.ok) return
        const starts = async () => (await readFile(file, 'utf8').catch(() => '')).length
        await rig.strike({
          target: added.value,
          kind: 'ends 300 ms after each start',
          group: 'crash loop is said to be one',
          expects: 'doomed',
          apply: () => {},
          cause: /ends again and again|had ended \d+ times|stopped trying|exited with code 3/,
          whyAfterMs: 5000,
          watchMs: options.watchMs,
          until: async () => SAID.has((await rig.host.state(added.value)) ?? '') && (await starts()) >= 2,
        })
        await rig.clock.sleep(LOOP_WATCH_MS)
        await rig.note(`loop-${rig.run}-${index}: ${await starts()} starts in the watch (more than ${STARTS_MAX} would be a storm)`)
        if ((await starts()) > STARTS_MAX) rig.faults.push(storm(rig, added.value))
      }),
    )
    return OK
  },
}

const SAID: ReadonlySet<string> = new Set(['crash_looping', 'quarantined', 'failed'])

/** A row that can only count against us. */
const storm = (rig: Rig, target: Target) => ({
  number: rig.faults.length + 1,
  kind: 'more starts than are bounded',
  group: 'storm',
  expects: 'doomed' as const,
  name: target.name,
  instanceId: target.id,
  atMs: rig.clock.elapsedMs(),
  at: new Date(rig.clock.wallMs()).toISOString(),
  lifeBefore: null,
  warmUp: false,
  lifeAfter: null,
  recoveredMs: null,
  downMs: null,
  orphans: false,
  watchedMs: 0,
  why: null,
  whyNamesCause: null,
  whyLater: null,
  whyLaterNamesCause: null,
})
