// What befalls workloads.
import { anyLiving, type Fault, type Given, onLiving, onNode } from './fault.ts'

export const WORKLOAD_FAULTS = {
  exit_error: { weight: 5, inject: onLiving((node, id, { chance }) => node.runtime.exit(id, { code: chance.whole(1, 255) })) },
  exit_ok: { weight: 3, inject: onLiving((node, id) => node.runtime.exit(id, { code: 0 })) },
  out_of_memory: { weight: 3, inject: onLiving((node, id) => node.runtime.exit(id, { oom: true })) },
  killed_by_a_stranger: { weight: 4, inject: onLiving((node, id) => node.runtime.exit(id, { signal: 'SIGKILL' })) },
  exit_unheard: { weight: 4, inject: onLiving((node, id) => node.runtime.exit(id, { code: 1, quiet: true })) },
  pid_reused: { weight: 3, inject: onLiving((node, id) => node.runtime.replace(id)) },
  paused_outside: {
    weight: 2,
    inject: onLiving((node, id) => {
      for (const object of node.runtime.live(id)) node.runtime.world.setPaused(object, true)
    }),
  },
  resumed_outside: {
    weight: 2,
    inject: (given: Given) => {
      const paused = given.world.nodes.flatMap((node) =>
        node.runtime.world.objects.filter(({ state }) => state === 'paused').map((object) => ({ node, object })),
      )
      const found = given.chance.pick(paused)
      if (!found) return
      given.world.ledger.byTheWorld(() => found.node.runtime.world.setPaused(found.object, false))
      given.hit()
    },
  },
  checks_fail: {
    weight: 4,
    inject: onLiving((node, id, { chance, world }) => {
      const end = node.makeIll(id, 'sick')
      world.time.after(chance.between(5000, 240_000), end)
      world.mend.push(end)
    }),
  },
  checks_hang: {
    weight: 4,
    inject: onLiving((node, id, { chance, world }) => {
      const end = node.makeIll(id, 'hanging')
      world.time.after(chance.between(5000, 240_000), end)
      world.mend.push(end)
    }),
  },
  mass_death: {
    weight: 1,
    inject: onNode((node, given) => {
      const ids = node.ids()
      given.world.ledger.byTheWorld(() => {
        for (const id of ids) node.runtime.exit(id, { signal: 'SIGKILL', quiet: given.chance.happens(0.2) })
      })
      if (ids.length > 0) given.hit()
    }),
  },
  /** Runs well in between, and therefore starts again at once each time. */
  dies_again_and_again: {
    weight: 3,
    inject: (given: Given) => {
      const found = anyLiving(given)
      if (!found) return
      given.hit()
      const { world, chance } = given
      const dies = (left: number) => {
        world.ledger.byTheWorld(() => found.node.runtime.exit(found.id, { signal: 'SIGKILL' }))
        if (left > 0) world.time.after(chance.between(11_000, 20_000), () => dies(left - 1))
      }
      dies(chance.whole(15, 45))
    },
  },
  crash_loop: {
    weight: 3,
    inject: (given: Given) => {
      const found = anyLiving(given)
      if (!found) return
      given.hit()
      const { world, chance } = given
      const dies = (left: number) => {
        world.ledger.byTheWorld(() => found.node.runtime.exit(found.id, { code: 3 }))
        if (left > 0) world.time.after(chance.between(200, 12_000), () => dies(left - 1))
      }
      dies(chance.whole(2, 30))
    },
  },
} satisfies Record<string, Fault>
