// Processes that are there and do nothing: stopped by SIGSTOP, which no exit event tells of. Only checks can see it.
import { OK } from '../../base/result.ts'
import type { InstanceInput } from '../../contracts/spec.ts'
import { eachOnce } from './each-once.ts'
import type { Strike } from './rig.ts'
import type { Scenario } from './scenario.ts'
import { signalIfAlive } from './signal.ts'

/** Half of the detection is this interval times the threshold; the report says so. */
const CHECK = { interval: '1s', timeout: '1s', failure_threshold: 3, success_threshold: 1 } as const
export const checked = (launch: Partial<InstanceInput>): Partial<InstanceInput> => ({
  ...launch,
  health: [{ type: 'http', kind: 'live', port: 'beat', path: '/', ...CHECK }],
})

const HANG_MS = 8000

interface Hang extends Pick<Scenario, 'name' | 'does' | 'usual'>, Pick<Strike, 'group' | 'expects' | 'cause' | 'whyAfterMs' | 'orphans'> {
  readonly allowDataLoss: boolean
  /** Ends by itself after this long, and is watched until it runs again; null: without end. */
  readonly hangMs: number | null
}

function hangScenario({ name, does, usual, allowDataLoss, hangMs, ...strike }: Hang): Scenario {
  return {
    name,
    does,
    needs: 'this machine to be the node, and rights to signal its processes',
    control: false,
    usual,
    async run(rig, options) {
      const permission = allowDataLoss ? { allow_data_loss: true } : {}
      const launched = await rig.launch(options.instances, 'chaos', { ...checked(options.launch), ...permission })
      if (!launched.ok) return launched
      // Failures of the first seconds after a start do not count.
      await rig.clock.sleep(options.warmUpMs)
      rig.warmUpFor(0)
      await eachOnce(rig, launched.value, options, async (target) => {
        const pid = rig.ownPid(target)
        if (pid === null) return
        await rig.strike({
          ...strike,
          target,
          kind: 'SIGSTOP',
          apply: () => void process.kill(pid, 'SIGSTOP'),
          ...(hangMs !== null && {
            lift: { afterMs: hangMs, run: () => signalIfAlive(pid, 'SIGCONT') },
            until: async () => (await rig.host.state(target)) === 'running',
          }),
          watchMs: options.watchMs,
        })
      })
      return OK
    },
  }
}

export const hang = hangScenario({
  name: 'hang',
  does: `SIGSTOP for ${HANG_MS / 1000} s, checked each second, allow_data_loss off: it lives, so it must be left alone and be well again afterwards`,
  usual: { instances: 5, faults: 5, everyMs: 1000, watchMs: 60_000 },
  allowDataLoss: false,
  hangMs: HANG_MS,
  group: 'hang, to be left alone',
  expects: 'patience',
  orphans: true,
  cause: /check .*fails|checks fail/,
  whyAfterMs: HANG_MS - 500,
})

export const hangRestart = hangScenario({
  name: 'hang-restart',
  does: 'SIGSTOP without end, checked each second, allow_data_loss on: it has to be replaced',
  usual: { instances: 5, faults: 5, everyMs: 1000, watchMs: 90_000 },
  allowDataLoss: true,
  hangMs: null,
  group: 'hang, to be replaced',
  expects: 'recovery',
  cause: /checks? .*fail/,
  whyAfterMs: HANG_MS,
})
