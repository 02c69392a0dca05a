// What befalls the control plane and its store.
import { anyControl, type Fault, type Given } from './fault.ts'
import type { FaultMoment, StoreOp } from './memory-store.ts'

const storeFails =
  (ops: readonly StoreOp[], when: FaultMoment, timesMax = 2): Fault['inject'] =>
  (given) => {
    const control = anyControl(given)
    const op = given.chance.pick(ops)
    if (!control?.life || !op) return
    for (let times = given.chance.whole(1, timesMax); times > 0; times -= 1) control.life.store.failNext(op, when)
    given.hit()
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
      const { desiredOfNode, desiredByIds } = life.store.read
      // What was read is on its way for long, and what was read after it may come before it.
      const late = <Args extends unknown[], T>(read: (...args: Args) => Promise<T>) => {
        return async (...args: Args): Promise<T> => {
          const answer = await read(...args)
          if (given.chance.happens(0.5)) await life.clock.sleep(given.chance.between(10, 20_000))
          return answer
        }
      }
      Object.assign(life.store.read, { desiredOfNode: late(desiredOfNode), desiredByIds: late(desiredByIds) })
      given.hit()
      const end = () => void Object.assign(life.store.read, { desiredOfNode, desiredByIds })
      given.world.time.after(given.chance.between(10_000, 180_000), end)
      given.world.mend.push(end)
    },
  },
  store_fails: {
    weight: 3,
    inject: storeFails([...WRITERS, 'write', 'read', 'claimHeals', 'recordHeartbeats', 'desiredOfNode'], 'before', 4),
  },
  store_answer_lost: { weight: 5, inject: storeFails([...WRITERS, 'write', 'claimHeals'], 'after-commit', 4) },
  store_runs_again: { weight: 3, inject: storeFails(WRITERS, 'rerun', 4) },
} satisfies Record<string, Fault>
