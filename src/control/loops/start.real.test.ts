import { expect, test } from 'vitest'
import { phaseOf } from '../../../tests/support/control-records.ts'
import { loopBench, WAIT_MS } from '../../../tests/support/loop-bench.ts'
import { newInstance, seedInstance, seedNode, seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { ok } from '../../base/result.ts'
import { latestCursor } from '../store/events.ts'
import { changeDesired } from '../store/instance-changes.ts'
import { createInstance, getInstance } from '../store/instances.ts'
import { placeInstance } from '../store/placement.ts'
import type { LoopsDeps } from './deps.ts'
import { healerLoop } from './healer-loop.ts'
import { janitorLoop } from './janitor-loop.ts'
import { nodesLoop } from './nodes-loop.ts'
import { rolloutLoop } from './rollout-loop.ts'
import type { Loop } from './runner.ts'
import { schedulerLoop } from './scheduler-loop.ts'

const DAY_MS = 86_400_000

describeStores('all loops together', (bench) => {
  test('C57: ten quiet rounds over a hundred instances say nothing, write no event and keep everything healthy', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store, 'node-a', { allocatableMemoryBytes: 2 ** 40 })
    const org = await seedOrg(given.store)
    const phase = JSON.stringify(phaseOf('running', { reason: 'verified', sinceMs: given.clock.wallMs() }))
    must(
      await given.store.write('system:test', async (tx) => {
        for (let index = 0; index < 100; index += 1)
          must(await placeInstance(tx, must(await createInstance(tx, newInstance(org))).id, node.nodeId))
        return ok(undefined)
      }),
    )
    await given.store.db.updateTable('instances').set({ phase, state: 'running', observed_generation: 2 }).execute()
    const before = must(await latestCursor(given.store.db))
    let passes = 0
    const counted = (make: (deps: LoopsDeps) => Loop) => (deps: LoopsDeps) => {
      const loop = make(deps)
      const pass: Loop['pass'] = async (turn) => {
        const outcome = await loop.pass(turn)
        passes += 1
        return outcome
      }
      return { ...loop, pass }
    }
    const all = [schedulerLoop, healerLoop, rolloutLoop, nodesLoop, janitorLoop]
    const loops = given.startOnly(all.map(counted))
    for (let round = 1; round <= 10; round += 1) {
      loops.nudge()
      await waitFor(() => passes >= round * all.length, { what: `round ${round}`, deadlineMs: WAIT_MS })
    }
    await loops.close()
    expect(given.log.said()).toEqual([])
    expect(must(await latestCursor(given.store.db))).toBe(before)
    expect(loops.health().map((one) => one.name)).toEqual(['scheduler', 'healer', 'rollout', 'nodes', 'janitor'])
  })

  test('of two replicas one works and the other stands by, and takes over when the first one ends', async () => {
    const given = await loopBench(bench)
    await seedNode(given.store)
    const org = await seedOrg(given.store)
    const first = given.start()
    await waitFor(() => first.health().every((one) => one.detail !== 'standing by'), { what: 'the first one at work', deadlineMs: WAIT_MS })
    const second = given.start()
    const { id } = await seedInstance(given.store, org)
    await given.until(id, 'placed', (one) => one.phase.kind === 'placed')
    expect(second.health().every((one) => one.detail === 'standing by')).toBe(true)
    await first.close()
    const { id: next } = await seedInstance(given.store, org)
    await given.until(next, 'placed by the second one', (one) => one.phase.kind === 'placed')
  })

  test('the record of a deleted instance is kept as evidence for seven days, then dropped', async () => {
    const given = await loopBench(bench)
    const org = await seedOrg(given.store)
    const { id } = await seedInstance(given.store, org)
    must(await given.store.write('system:test', (tx) => changeDesired(tx, id, () => ok({ verb: 'delete', want: 'deleted' }))))
    const loops = given.start()
    const rounds = async (what: string) => {
      loops.nudge()
      await waitFor(() => loops.health().every((one) => one.detail === 'looked 0 s ago'), { what, deadlineMs: WAIT_MS })
    }
    given.clock.shift(7 * DAY_MS - 60_000)
    await rounds('a round before')
    expect(must(await getInstance(given.store.db, id))).not.toBe(null)
    given.clock.shift(120_000)
    loops.nudge()
    await waitFor(async () => must(await getInstance(given.store.db, id)) === null, { what: 'dropped', deadlineMs: WAIT_MS })
    expect(given.log.said()).toContain('info old records dropped')
  })
})
