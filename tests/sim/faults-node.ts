// What befalls agents, their machines, and their way to the control plane.
import { failure } from '../../src/contracts/errors.ts'
import { type Fault, forAWhile, type Given, onNode } from './fault.ts'
import type { TrapPoint } from './node.ts'

const trapAt = (points: readonly TrapPoint[], passesMax: number): Fault['inject'] =>
  onNode((node, given) => node.trap(given.chance.pick(points) ?? 'message', given.chance.whole(0, passesMax), given.hit))

const partition = (agent: boolean, control: boolean, minMs: number, maxMs: number): Fault['inject'] =>
  forAWhile(minMs, maxMs, (node) => {
    node.path.set(agent, control)
    return () => node.path.set(false, false)
  })

export const AGENT_FAULTS = {
  agent_killed: {
    weight: 6,
    inject: onNode((node, { chance, hit }) => {
      if (!node.life) return
      hit()
      node.kill(chance.between(500, chance.happens(0.2) ? 60_000 : 5000))
    }),
  },
  agent_killed_before_journal: { weight: 4, inject: trapAt(['append before'], 6) },
  agent_killed_in_journal: { weight: 4, inject: trapAt(['append torn'], 6) },
  agent_killed_after_journal: { weight: 4, inject: trapAt(['append after'], 6) },
  agent_killed_before_effect: {
    weight: 4,
    inject: trapAt(['start before', 'stop before', 'remove before', 'prepare before', 'pause before'], 2),
  },
  agent_killed_after_effect: {
    weight: 4,
    inject: trapAt(['start after', 'stop after', 'remove after', 'prepare after', 'forget after'], 2),
  },
  agent_killed_while_looking: { weight: 3, inject: trapAt(['inspect before', 'inspect after', 'list before', 'list after'], 3) },
  agent_killed_at_message: { weight: 3, inject: trapAt(['message'], 12) },
  agent_killed_at_load: {
    weight: 2,
    inject: onNode((node, { hit, chance }) => {
      if (!node.life) return
      node.trap('load', 0, hit)
      node.kill(chance.between(500, 3000))
    }),
  },
  journal_lost: {
    weight: 2,
    inject: onNode((node, { chance, hit }) => {
      const ids = [...node.disk.journals.keys()].filter(() => chance.happens(0.3))
      if (ids.length === 0 || !node.life) return
      hit()
      node.loseJournals(ids)
    }),
  },
  /** What runs is not to be seen when the agent begins to number anew. */
  journal_lost_in_the_dark: {
    weight: 3,
    inject: onNode((node, { world, chance, hit }) => {
      const ids = [...node.disk.journals.keys()].filter(() => chance.happens(0.7))
      if (ids.length === 0 || !node.life || node.machine.suspended) return
      hit()
      node.loseJournals(ids)
      const away = failure('runtime_unreachable', 'simulated', {})
      node.runtime.failNext('list', away, chance.whole(1, 3))
      node.runtime.failNext('inspect', away, chance.whole(1, 2 * ids.length))
      if (chance.happens(0.7)) return
      node.runtime.reachable(false)
      const end = () => node.runtime.reachable(true)
      world.time.after(chance.between(1000, 30_000), end)
      world.mend.push(end)
    }),
  },
  /** Not even the control plane says what is wished; whatever runs is the agent's no more than a stray is. */
  journal_lost_and_alone: {
    weight: 1,
    inject: forAWhile(900_000, 1_500_000, (node, { chance }) => {
      node.loseJournals([...node.disk.journals.keys()].filter(() => chance.happens(0.8)))
      node.path.set(true, true)
      return () => node.path.set(false, false)
    }),
  },
  agent_frozen: {
    weight: 3,
    inject: forAWhile(1000, 60_000, (node) => {
      const clock = node.life?.clock
      clock?.freeze()
      return () => clock?.thaw()
    }),
  },
  machine_suspended: {
    weight: 3,
    inject: forAWhile(5000, 300_000, (node) => {
      node.machine.suspend()
      return () => {
        node.machine.resume()
        node.wake()
      }
    }),
  },
  machine_crashed: {
    weight: 2,
    inject: onNode((node, { chance, hit }) => {
      hit()
      node.crash(chance.between(5000, 90_000))
    }),
  },
  disk_full: {
    weight: 3,
    inject: forAWhile(3000, 120_000, (node) => {
      node.disk.state = 'full'
      return () => {
        node.disk.state = 'fine'
      }
    }),
  },
  disk_read_only: {
    weight: 2,
    inject: forAWhile(3000, 120_000, (node) => {
      node.disk.state = 'read-only'
      return () => {
        node.disk.state = 'fine'
      }
    }),
  },
  disk_slow: {
    weight: 3,
    inject: forAWhile(5000, 120_000, (node, { chance }) => {
      node.disk.latencyMs = chance.between(50, 2500)
      return () => {
        node.disk.latencyMs = 1
      }
    }),
  },
  clock_set_forward: {
    weight: 2,
    inject: onNode((node, { chance, hit }) => {
      node.machine.offsetMs += chance.between(2000, 7_200_000)
      hit()
    }),
  },
  clock_set_back: {
    weight: 2,
    inject: onNode((node, { chance, hit }) => {
      node.machine.offsetMs -= chance.between(2000, 7_200_000)
      hit()
    }),
  },
  clock_runs_wrong: {
    weight: 2,
    inject: onNode((node, { chance, hit }) => {
      node.machine.setRate(chance.between(0.995, 1.005))
      hit()
    }),
  },
} satisfies Record<string, Fault>

export const NETWORK_FAULTS = {
  connection_cut: {
    weight: 4,
    inject: onNode((node, { chance, hit }) => {
      const end = chance.pick([...node.path.ends])
      if (!end) return
      end.terminate()
      hit()
    }),
  },
  partition: { weight: 4, inject: partition(true, true, 1000, 120_000) },
  agent_unheard: { weight: 3, inject: partition(true, false, 1000, 90_000) },
  control_unheard: { weight: 3, inject: partition(false, true, 1000, 90_000) },
  partition_of_all: {
    weight: 1,
    inject: ({ world, chance, hit }: Given) => {
      for (const node of world.nodes) node.path.set(true, true)
      const end = () => {
        for (const node of world.nodes) node.path.set(false, false)
      }
      world.time.after(chance.between(1000, 90_000), end)
      world.mend.push(end)
      hit()
    },
  },
  network_slow: {
    weight: 3,
    inject: forAWhile(5000, 120_000, (node, { chance }) => {
      node.path.latencyMs = chance.between(100, 6000)
      return () => {
        node.path.latencyMs = 0.5
      }
    }),
  },
  dial_refused: {
    weight: 2,
    inject: forAWhile(5000, 60_000, (node, { chance }) => {
      node.path.refusal = chance.pick(['refused', 503, 429, 401] as const) ?? 'refused'
      for (const end of [...node.path.ends]) end.terminate()
      return () => {
        node.path.refusal = 'none'
      }
    }),
  },
} satisfies Record<string, Fault>
