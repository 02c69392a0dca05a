// Negative controls: a busy machine, a paused agent, a flood of output, and people who stop, restart and delete. Nothing may be done about them.
import { type ChildProcess, spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { OK } from '../../base/result.ts'
import { checked } from './hangs.ts'
import { order } from './heartbeat.ts'
import type { Target } from './host.ts'
import { partPid } from './parts.ts'
import type { Rig } from './rig.ts'
import type { Scenario } from './scenario.ts'

const BUSY_MS = 15_000
const PAUSE_MS = 8000
const FLOOD_LINES = 50_000

const usual = { instances: 6, faults: 1, everyMs: 1000, watchMs: 60_000 }

export const busyCpu: Scenario = {
  name: 'control-cpu',
  does: `twice as many busy loops as there are cores, for ${BUSY_MS / 1000} s`,
  needs: 'this machine to be the node',
  control: true,
  usual,
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', checked(options.launch))
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    const loops: ChildProcess[] = []
    await rig.strike({
      target: null,
      kind: 'busy loops',
      group: 'control: busy cpu',
      expects: 'trouble',
      apply: () => {
        // They end by themselves, should we be killed.
        for (const _ of [...cpus(), ...cpus()])
          loops.push(spawn('perl', ['-e', `alarm ${(2 * BUSY_MS) / 1000}; 1 while 1`], { stdio: 'ignore' }))
      },
      lift: { afterMs: BUSY_MS, run: () => endAll(loops) },
      until: () => wellAll(rig, launched.value),
      watchMs: options.watchMs,
    })
    return OK
  },
}

export const lag: Scenario = {
  name: 'control-lag',
  does: `stops the agent for ${PAUSE_MS / 1000} s by SIGSTOP, as a starved event loop or a suspended host would`,
  needs: '--agent-pid',
  control: true,
  usual,
  async run(rig, options) {
    const pid = partPid(options, 'agent')
    if (!pid.ok) return pid
    const launched = await rig.launch(options.instances, 'chaos', checked(options.launch))
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    await rig.strike({
      target: null,
      kind: 'SIGSTOP of the agent',
      group: 'control: lag',
      expects: 'trouble',
      apply: () => void process.kill(pid.value, 'SIGSTOP'),
      lift: { afterMs: PAUSE_MS, run: () => void process.kill(pid.value, 'SIGCONT') },
      until: async () => (await rig.host.whole()) && (await wellAll(rig, launched.value)),
      watchMs: options.watchMs,
    })
    return OK
  },
}

export const logFlood: Scenario = {
  name: 'control-log-flood',
  does: `each instance writes ${FLOOD_LINES} lines of output as fast as it can`,
  needs: 'nothing',
  control: true,
  usual,
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', checked(options.launch))
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    await Promise.all(
      launched.value.map((target) =>
        rig.strike({
          target,
          kind: `${FLOOD_LINES} lines`,
          group: 'control: log flood',
          expects: 'patience',
          apply: () => order(rig.oracle.port(target.name) ?? 0, `flood ${FLOOD_LINES}`),
          until: () => wellAll(rig, [target]),
          watchMs: options.watchMs,
        }),
      ),
    )
    return OK
  },
}

export const massWishes: Scenario = {
  name: 'control-wishes',
  does: 'a third of the instances is stopped, a third restarted, a third deleted, all at once; nothing stopped or deleted may serve again',
  needs: 'nothing',
  control: true,
  usual: { ...usual, instances: 12 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    const wishes = ['stop', 'restart', 'delete'] as const
    await Promise.all(
      launched.value.map((target, index) => {
        const wish = wishes[index % wishes.length] ?? 'stop'
        return rig.strike({
          target,
          kind: wish,
          group: `control: ${wish}`,
          expects: wish === 'restart' ? 'wish' : 'rest',
          apply: async () => void (await rig.host.wish(target, wish)),
          ...(wish !== 'restart' && { until: async () => ENDED.has((await rig.host.state(target)) ?? 'deleted') }),
          ...(wish === 'stop' && { cause: /somebody asked/, whyAfterMs: 1500 }),
          watchMs: options.watchMs,
        })
      }),
    )
    return OK
  },
}

const ENDED: ReadonlySet<string> = new Set(['stopped', 'deleted'])

async function wellAll(rig: Rig, targets: readonly Target[]): Promise<boolean> {
  for (const target of targets) if (rig.oracle.serving(target.name) === null || (await rig.host.state(target)) !== 'running') return false
  return true
}

function endAll(loops: readonly ChildProcess[]): void {
  for (const loop of loops) loop.kill('SIGKILL')
}
