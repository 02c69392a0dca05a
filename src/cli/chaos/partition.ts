// Agent and control plane that cannot hear each other, through a fault proxy of our own: needs no rights, and no network of the machine is touched.
import { OK } from '../../base/result.ts'
import type { FaultProxy, Mischief } from './fault-proxy.ts'
import { proxyFor } from './place.ts'
import type { Rig } from './rig.ts'
import type { Scenario, ScenarioOptions } from './scenario.ts'
import { LINK_AWAY } from './sockets.ts'

/** Silence is believed after 15 to 20 s, so it lasts longer. */
const APART_MS = { cut: 5000, silent: 30_000 } as const

export const partition: Scenario = {
  name: 'partition',
  does: 'cuts agent and control plane apart: all connections ended for 5 s, then kept and silent for 30 s; an instance dies meanwhile',
  needs: '--proxy-listen, which the agent was told to dial, and --proxy-to, the control plane',
  control: false,
  usual: { instances: 3, faults: 2, everyMs: 1000, watchMs: 90_000 },
  async run(rig, options) {
    const proxied = await proxyFor(rig, options.parts)
    if (!proxied.ok) return proxied
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    for (let made = 0; made < options.faults; made += 1) await apart(rig, options, proxied.value.proxy, made)
    return OK
  },
}

async function apart(rig: Rig, options: ScenarioOptions, proxy: FaultProxy, made: number): Promise<void> {
  const how = made % 2 === 0 ? 'cut' : 'silent'
  // Not the one of the time before: a second end in a row waits half a minute by design.
  const target = rig.targets[1 + (made % Math.max(1, rig.targets.length - 1))]
  const pid = target && rig.ownPid(target)
  const set = (mischief: Mischief) => () => proxy.set(mischief)
  await Promise.all([
    rig.strike({
      target: rig.targets[0] ?? null,
      kind: how,
      group: `partition: ${how}`,
      expects: 'trouble',
      apply: set(how),
      lift: { afterMs: APART_MS[how], run: set('none') },
      cause: LINK_AWAY,
      whyAfterMs: APART_MS[how] - 500,
      until: () => rig.host.whole(),
      watchMs: options.watchMs,
    }),
    target && pid
      ? rig.strike({
          target,
          kind: 'SIGKILL',
          group: 'kill during a partition',
          expects: 'recovery',
          apply: () => void process.kill(pid, 'SIGKILL'),
          watchMs: options.watchMs,
        })
      : null,
  ])
}
