import { expect, test } from 'vitest'
import { phaseOf, USAGE } from '../../../tests/support/control-records.ts'
import { type LoopBench, loopBench, WAIT_MS } from '../../../tests/support/loop-bench.ts'
import { seedNode, seedOrg, seedPlaced } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import type { NodeId } from '../../contracts/ids.ts'
import { findNode, recordHeartbeats } from '../store/nodes.ts'
import { nodesLoop } from './nodes-loop.ts'
import type { Loops } from './start.ts'

const RUNNING = { phase: phaseOf('running', { reason: 'verified' }) }
const looked = (given: LoopBench) => given.store.db.selectFrom('nodes').select(['id', 'connected']).orderBy('id').execute()

describeStores('nodes loop', (bench) => {
  const justLooked = (loops: Loops) =>
    waitFor(() => loops.health()[0]?.detail === 'looked 0 s ago', { what: 'a look', deadlineMs: WAIT_MS })

  /** Time passes, with a look every five seconds and a heartbeat of the living nodes before each. */
  async function pass(given: LoopBench, loops: Loops, looks: number, ...living: { nodeId: NodeId; epoch: number }[]): Promise<void> {
    await justLooked(loops)
    const beats = living.map(({ nodeId, epoch }) => ({ nodeId, epoch, usage: USAGE, facts: null }))
    for (let look = 0; look < looks; look += 1) {
      must(await recordHeartbeats(given.store.db, given.clock.wallMs() + 5000, beats))
      given.clock.shift(5000)
      loops.nudge()
      await justLooked(loops)
    }
  }

  test('a silent node is offline, its instances are lost, what is desired and what was observed stays', async () => {
    const given = await loopBench(bench)
    const [silent, living] = [await seedNode(given.store, 'silent'), await seedNode(given.store, 'living')]
    const org = await seedOrg(given.store)
    const [gone, kept, resting] = [
      await seedPlaced(given.store, org, silent.nodeId),
      await seedPlaced(given.store, org, living.nodeId),
      await seedPlaced(given.store, org, silent.nodeId),
    ]
    await given.observe(silent, gone.id, { ...RUNNING, pid: 4711 })
    await given.observe(living, kept.id, RUNNING)
    await given.observe(silent, resting.id, { phase: phaseOf('failed') })
    const loops = given.startOnly([nodesLoop])
    await pass(given, loops, 4, living)
    const lost = await given.until(gone.id, 'lost', (one) => one.phase.kind === 'lost')
    expect(lost).toMatchObject({
      want: 'running',
      generation: gone.generation,
      nodeId: 'silent',
      phase: { reason: 'node_lost' },
      observed: { pid: 4711 },
    })
    expect((await given.get(kept.id)).phase.kind).toBe('running')
    // Nothing of it ran, so nothing of it is lost.
    expect((await given.get(resting.id)).phase.kind).toBe('failed')
    expect(await looked(given)).toEqual([
      { id: 'living', connected: true },
      { id: 'silent', connected: false },
    ])
    expect(given.log.said()).toEqual(['warn node lost'])
  })

  test('when the agent comes back its word replaces lost, and a session that merely stalled has to begin anew', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store, 'stalled')
    const org = await seedOrg(given.store)
    const { id } = await seedPlaced(given.store, org, node.nodeId)
    await given.observe(node, id, RUNNING)
    const loops = given.startOnly([nodesLoop])
    await pass(given, loops, 4)
    await given.until(id, 'lost', (one) => one.phase.kind === 'lost')
    // The stalled session is refused: it would not repeat what it said long ago.
    expect(
      must(
        await recordHeartbeats(given.store.db, given.clock.wallMs(), [
          { nodeId: node.nodeId, epoch: node.epoch, usage: USAGE, facts: null },
        ]),
      ),
    ).toEqual([])
    const again = await seedNode(given.store, 'stalled')
    expect(again.epoch).toBeGreaterThan(node.epoch)
    await given.observe(again, id, RUNNING)
    expect((await given.get(id)).phase).toMatchObject({ kind: 'running', reason: 'verified' })
    expect((await given.events()).filter((type) => type === 'node.disconnected')).toHaveLength(1)
  })

  test('a control plane that was away itself gives every agent the full time: nobody is lost at its start', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store, 'patient')
    const org = await seedOrg(given.store)
    const { id } = await seedPlaced(given.store, org, node.nodeId)
    await given.observe(node, id, RUNNING)
    given.clock.shift(3_600_000)
    const loops = given.startOnly([nodesLoop])
    await waitFor(async () => !must(await findNode(given.store.db, 'patient')).connected, {
      what: 'its session found closed',
      deadlineMs: WAIT_MS,
    })
    await pass(given, loops, 3)
    expect((await given.get(id)).phase.kind).toBe('running')
    await pass(given, loops, 2)
    await given.until(id, 'lost', (one) => one.phase.kind === 'lost')
  })
})
