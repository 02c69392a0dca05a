// Processes that are there and do nothing: stopped by SIGSTOP, which no exit event tells of. Only checks can see it.
import { OK } from '../../base/result.ts'
import type { InstanceInput } from '../../contracts/spec.ts'
import type { Target } from './host.ts'
import type { Rig, Strike } from './rig.ts'
import type { Scenario, ScenarioOptions } from './scenario.ts'
import { exponentialMs } from './statistics.ts'

const NEEDS = 'this machine to be the node, and rights to signal its processes'
/** Half of the detection is this interval times the threshold; the report says so. */
const CHECK = { interval: '1s', timeout: '1s', failure_threshold: 3, success_threshold: 1 } as const
export const checked = (launch: Partial<InstanceInput>): Partial<InstanceInput> => ({
  ...launch,
  health: [{ type: 'http', kind: 'live', port: 'beat', path: '/', ...CHECK }],
})

const HANG_MS = 8000

/** Every target once, at Poisson arrivals. */
export async function eachOnce(rig: Rig, targets: readonly Target[], options: ScenarioOptions, make: (target: Target) => Strike | null) {
  const work: Promise<unknown>[] = []
  for (const target of targets.slice(0, options.faults)) {
    await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
    const strike = make(target)
    if (strike) work.push(rig.strike(strike))
  }
  await Promise.all(work)
}

export const hang: Scenario = {
  name: 'hang',
  does: `SIGSTOP for ${HANG_MS / 1000} s, checked each second, allow_data_loss off: it lives, so it must be left alone and be well again afterwards`,
  needs: NEEDS,
  control: false,
  usual: { instances: 5, faults: 5, everyMs: 1000, watchMs: 60_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', checked(options.launch))
    if (!launched.ok) return launched
    // Failures of the first seconds after a start do not count.
    await rig.clock.sleep(options.warmUpMs)
    rig.warmUpFor(0)
    await eachOnce(rig, launched.value, options, (target) => {
      const pid = rig.ownPid(target)
      if (pid === null) return null
      return {
        target,
        kind: 'SIGSTOP',
        group: 'hang, to be left alone',
        expects: 'patience',
        apply: () => void process.kill(pid, 'SIGSTOP'),
        lift: { afterMs: HANG_MS, run: () => goOn(pid) },
        cause: /check .*fails|checks fail/,
        whyAfterMs: HANG_MS - 500,
        until: async () => (await rig.host.state(target)) === 'running',
        watchMs: options.watchMs,
      }
    })
    return OK
  },
}

export const hangRestart: Scenario = {
  name: 'hang-restart',
  does: 'SIGSTOP without end, checked each second, allow_data_loss on: it has to be replaced',
  needs: NEEDS,
  control: false,
  usual: { instances: 5, faults: 5, everyMs: 1000, watchMs: 90_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', { ...checked(options.launch), allow_data_loss: true })
    if (!launched.ok) return launched
    // Failures of the first seconds after a start do not count.
    await rig.clock.sleep(options.warmUpMs)
    rig.warmUpFor(0)
    await eachOnce(rig, launched.value, options, (target) => {
      const pid = rig.ownPid(target)
      if (pid === null) return null
      return {
        target,
        kind: 'SIGSTOP',
        group: 'hang, to be replaced',
        expects: 'recovery',
        apply: () => void process.kill(pid, 'SIGSTOP'),
        cause: /checks? .*fail/,
        whyAfterMs: HANG_MS,
        watchMs: options.watchMs,
      }
    })
    return OK
  },
}

function goOn(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch {
    // Somebody ended it meanwhile; the oracle sees that.
  }
}
