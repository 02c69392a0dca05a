// What befalls the control plane and its store.
import { err } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import type { Chance } from './chance.ts'
import type { SimControl } from './control.ts'
import { anyControl, type Fault, type Given } from './fault.ts'
import { type FaultMoment, MemoryStore, type StoreOp } from './memory-store.ts'

const storeFails =
  (ops: readonly StoreOp[], when: FaultMoment, timesMax = 2): Fault['inject'] =>
  (given) => {
    const control = anyControl(given)
    const op = given.chance.pick(ops)
    if (!control?.life || !op) return
    for (let times = given.chance.whole(1, timesMax); times > 0; times -= 1) control.life.store.failNext(op, when)
    given.hit()
  }

/** What was read is on its way for long, and what was read after it may come before it. */
function readLate({ store, clock }: NonNullable<SimControl['life']>, chance: Chance, probability: number, maxMs: number): () => void {
  const { desiredOfNode, desiredByIds } = store.read
  // Two such times may overlap and end in any order, so neither takes the other's away.
  let on = true
  const late = <Args extends unknown[], T>(read: (...args: Args) => Promise<T>) => {
    return async (...args: Args): Promise<T> => {
      const answer = await read(...args)
      if (on && chance.happens(probability)) await clock.sleep(chance.between(10, maxMs))
      return answer
    }
  }
  Object.assign(store.read, { desiredOfNode: late(desiredOfNode), desiredByIds: late(desiredByIds) })
  return () => {
    on = false
  }
}

const WRITERS: readonly StoreOp[] = ['system:link', 'token:ann', 'system:scheduler', 'system:healer', 'system:nodes', 'system:rollout']

export const CONTROL_FAULTS = {
  control_killed: {
    weight: 4,
    inject: (given: Given) => {
      const replica = anyControl(given)
      if (!replica) return
      given.hit()
      replica.kill(given.chance.between(500, 60_000))
    },
  },
  control_restarted: {
    weight: 2,
    inject: (given: Given) => {
      const replica = anyControl(given)
      if (!replica) return
      given.hit()
      void replica.restart(given.chance.between(500, 5000))
    },
  },
  control_gone: {
    weight: 1,
    inject: ({ world, chance, hit }: Given) => {
      hit()
      for (const replica of world.controls) replica.kill(chance.between(5000, 120_000))
    },
  },
  control_frozen: {
    weight: 2,
    inject: (given: Given) => {
      const life = anyControl(given)?.life
      if (!life) return
      life.clock.freeze()
      given.hit()
      const end = () => life.clock.thaw()
      given.world.time.after(given.chance.between(1000, 60_000), end)
      given.world.mend.push(end)
    },
  },
  control_clock_set: {
    weight: 2,
    inject: (given: Given) => {
      const replica = anyControl(given)
      if (!replica) return
      replica.machine.offsetMs += given.chance.between(-600_000, 600_000)
      given.hit()
    },
  },
  lease_lost: {
    weight: 3,
    inject: (given: Given) => {
      const life = anyControl(given)?.life
      if (!life) return
      life.store.loseLease()
      given.hit()
    },
  },
  notifications_lost: {
    weight: 3,
    inject: (given: Given) => {
      const life = anyControl(given)?.life
      if (!life) return
      const before = life.store.deliveries
      life.store.deliveries = () => (given.chance.happens(0.7) ? [] : given.chance.happens(0.5) ? [1, 40] : [given.chance.between(1, 5000)])
      given.hit()
      const end = () => {
        life.store.deliveries = before
      }
      given.world.time.after(given.chance.between(5000, 120_000), end)
      given.world.mend.push(end)
    },
  },
  store_down: {
    weight: 3,
    inject: (given: Given) => {
      const { world, chance, hit } = given
      const lives = (chance.happens(0.5) ? world.controls : [anyControl(given)]).flatMap((one) => one?.life ?? [])
      for (const { store } of lives) store.down(true)
      if (lives.length > 0) hit()
      const end = () => {
        for (const { store } of lives) store.down(false)
      }
      world.time.after(chance.between(500, 90_000), end)
      world.mend.push(end)
    },
  },
  store_slow: {
    weight: 2,
    inject: (given: Given) => {
      const life = anyControl(given)?.life
      if (!life) return
      life.store.latencyMs = given.chance.between(50, 2500)
      given.hit()
      const end = () => {
        life.store.latencyMs = 1
      }
      given.world.time.after(given.chance.between(5000, 60_000), end)
      given.world.mend.push(end)
    },
  },
  wishes_read_late: {
    weight: 3,
    inject: (given: Given) => {
      const life = anyControl(given)?.life
      if (!life) return
      const end = readLate(life, given.chance, 0.5, 20_000)
      given.hit()
      given.world.time.after(given.chance.between(10_000, 180_000), end)
      given.world.mend.push(end)
    },
  },
  /** Read before they were wished, and heard after all of it is gone and forgotten. */
  deletions_overtaken: {
    weight: 2,
    inject: (given: Given) => {
      const { world, chance } = given
      const ends = world.controls.flatMap(({ life }) => (life ? [readLate(life, chance, 0.7, 30_000)] : []))
      const own = world.database.rows.instances.all().filter(({ record }) => record.deletedAtMs === null && record.membership === null)
      for (let left = chance.whole(2, 4); left > 0; left -= 1) {
        const id = chance.pick(own)?.record.id
        if (id !== undefined) world.time.after(chance.between(0, 60_000), () => void world.people.verb('delete', id))
        world.time.after(chance.between(60_000, 90_000), () => void world.people.launch())
      }
      if (ends.length > 0 && own.length > 0) given.hit()
      for (const end of ends) {
        world.time.after(90_000, end)
        world.mend.push(end)
      }
    },
  },
  /** Under way when their session ends, and answered by nobody: what is told anew may be stored before them. */
  observations_stored_late: {
    weight: 4,
    inject: (given: Given) => {
      const life = anyControl(given)?.life
      if (!life) return
      const { chance, world } = given
      const { store, clock } = life
      let on = true
      const write: typeof store.write = async (actor, run) => {
        if (!on || actor !== 'system:link')
          return MemoryStore.prototype.write.call(store, actor, run) as ReturnType<typeof store.write<never>>
        if (chance.happens(0.5)) await clock.sleep(chance.between(10, 15_000))
        const answer = await (MemoryStore.prototype.write.call(store, actor, run) as ReturnType<typeof store.write<never>>)
        return chance.happens(0.3) ? err(failure('store_unavailable', 'simulated: the answer is lost.')) : answer
      }
      store.write = write
      given.hit()
      const forMs = chance.between(10_000, 90_000)
      for (let cuts = chance.whole(1, 4); cuts > 0; cuts -= 1) {
        const node = chance.pick(world.nodes)
        world.time.after(chance.between(0, forMs), () => [...(node?.path.ends ?? [])].find(({ side }) => side === 'agent')?.terminate())
      }
      const end = () => {
        on = false
      }
      world.time.after(forMs, end)
      world.mend.push(end)
    },
  },
  answers_to_people_lost: {
    weight: 3,
    inject: ({ world, chance, hit }: Given) => {
      world.people.unanswered = true
      hit()
      const end = () => {
        world.people.unanswered = false
      }
      world.time.after(chance.between(5000, 120_000), end)
      world.mend.push(end)
    },
  },
  store_fails: {
    weight: 3,
    inject: storeFails([...WRITERS, 'write', 'read', 'claimHeals', 'recordHeartbeats', 'desiredOfNode'], 'before', 4),
  },
  store_answer_lost: { weight: 5, inject: storeFails([...WRITERS, 'write', 'claimHeals'], 'after-commit', 4) },
  store_runs_again: { weight: 3, inject: storeFails(WRITERS, 'rerun', 4) },
} satisfies Record<string, Fault>
