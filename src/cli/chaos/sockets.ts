// The connection that something is steered through breaks in each way it can: the socket of the Docker Engine, or the agent's link. Whoever is at
// the other end goes on, so nothing may be concluded from it about any instance; one that dies meanwhile has to come back.
import { OK } from '../../base/result.ts'
import type { FaultProxy, Mischief } from './fault-proxy.ts'
import { killMeanwhile } from './parts.ts'
import { proxyFor } from './place.ts'
import type { Rig } from './rig.ts'
import type { Place, Scenario, ScenarioOptions } from './scenario.ts'

/** A silent engine is believed to be away after 7 s, a silent control plane after 15 to 20 s, so it lasts longer. */
const PATH_WAYS = [
  { mischief: 'absent', name: 'unlinked', forMs: 10_000 },
  { mischief: 'dead', name: 'replaced by a dead one', forMs: 10_000 },
  { mischief: 'silent', name: 'half open', forMs: 15_000 },
] as const
const PORT_WAYS = [
  { mischief: 'absent', name: 'refused', forMs: 10_000 },
  { mischief: 'cut', name: 'ended at once', forMs: 10_000 },
  { mischief: 'silent', name: 'half open', forMs: 25_000 },
] as const

export const brokenSocket: Scenario = {
  name: 'broken-socket',
  does: "breaks the socket of the Docker Engine (unlinked, replaced by a dead one, half open) or the agent's link (refused, ended at once, half open); an instance dies meanwhile",
  needs:
    '--proxy-listen, which the agent was told to dial, and --proxy-to: a path each for the engine (with --runtime docker), HOST:PORT each for the link',
  control: false,
  usual: { instances: 4, faults: 3, everyMs: 2000, watchMs: 90_000 },
  async run(rig, options) {
    const made = await proxyFor(rig, options.parts)
    if (!made.ok) return made
    const { proxy, at } = made.value
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    for (let number = 0; number < options.faults; number += 1)
      await Promise.all([
        breakOnce(rig, options, proxy, at, number),
        killMeanwhile(rig, launched.value.slice(1), 'a broken socket', number, options.watchMs),
      ])
    return OK
  },
}

async function breakOnce(rig: Rig, options: ScenarioOptions, proxy: FaultProxy, at: Place, number: number): Promise<void> {
  const ways = 'path' in at ? PATH_WAYS : PORT_WAYS
  const way = ways[number % ways.length] ?? ways[0]
  const set = (mischief: Mischief) => () => proxy.set(mischief)
  await rig.strike({
    target: rig.targets[0] ?? null,
    kind: way.name,
    group: `socket ${way.name}`,
    expects: 'trouble',
    apply: set(way.mischief),
    lift: { afterMs: way.forMs, run: set('none') },
    // A path that is only unlinked leaves the connections that there are: nothing need be amiss.
    ...(way.name !== 'unlinked' && { cause: 'path' in at ? RUNTIME_AWAY : LINK_AWAY, whyAfterMs: way.forMs - 500 }),
    until: () => rig.host.whole(),
    watchMs: options.watchMs,
  })
}

export const LINK_AWAY = /not connected|silent/
export const RUNTIME_AWAY = /runtime docker .*cannot be used/
