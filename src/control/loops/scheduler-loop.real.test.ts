import { assert, expect, test } from 'vitest'
import { SLEEPER, specOf } from '../../../tests/support/control-records.ts'
import { loopBench, WAIT_MS } from '../../../tests/support/loop-bench.ts'
import { newInstance, seedInstance, seedNode, seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { ok } from '../../base/result.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { changeDesired, putMetadata } from '../store/instance-changes.ts'
import { createInstance, getInstance } from '../store/instances.ts'
import { allNodes, setCordon } from '../store/nodes.ts'
import type { LoopsDeps } from './deps.ts'
import { schedulerLoop } from './scheduler-loop.ts'

const MEBIBYTE = 2 ** 20

describeStores('scheduler loop', (bench) => {
  test('what is created is placed at once on the notification, not at the resync', async () => {
    const { store, start, until, events } = await loopBench(bench)
    const { nodeId } = await seedNode(store)
    const org = await seedOrg(store)
    start({ resyncMs: 3_600_000 })
    const { id } = await seedInstance(store, org)
    const placed = await until(id, 'placed', (one) => one.phase.kind === 'placed')
    expect(placed).toMatchObject({ nodeId, generation: 2, refusals: [] })
    expect(await events(id)).toContain('instance.placed')
  })

  test('the unplaceable one waits visibly with each reason, and is placed when a node can take it', async () => {
    const { store, start, until, get, events } = await loopBench(bench)
    const { nodeId } = await seedNode(store)
    must(await store.write('system:test', (tx) => setCordon(tx, nodeId, true)))
    const org = await seedOrg(store)
    const loops = start({ resyncMs: 3_600_000 })
    const { id } = await seedInstance(store, org)
    const refused = await until(id, 'refused', (one) => one.phase.reason === 'no_node')
    expect(refused.refusals).toEqual([{ nodeId, refusedBy: 'cordoned', detail: 'nothing new is placed on it until it is uncordoned' }])
    expect(refused.phase.lastError).toMatchObject({ code: 'no_node', detail: '1 node: 1 cordoned' })
    // The same refusal again is no news.
    loops.nudge()
    loops.nudge()
    must(await store.write('system:test', (tx) => setCordon(tx, nodeId, false)))
    await until(id, 'placed', (one) => one.phase.kind === 'placed')
    expect((await get(id)).refusals).toEqual([])
    expect((await events(id)).filter((type) => type === 'instance.refused')).toHaveLength(1)
  })

  test('a burst from many writers never promises more memory than a node has, and the rest is explained', async () => {
    const { store, start } = await loopBench(bench)
    await seedNode(store, 'node-a', { allocatableMemoryBytes: 640 * MEBIBYTE })
    await seedNode(store, 'node-b', { allocatableMemoryBytes: 320 * MEBIBYTE })
    const org = await seedOrg(store)
    start()
    const all = await Promise.all(Array.from({ length: 30 }, () => seedInstance(store, org)))
    const states = await waitFor(
      async () => {
        const rows = await store.db.selectFrom('instances').select(['state', 'refusals', 'node_id']).execute()
        const settled = rows.filter((row) => row.node_id !== null || (row.refusals as unknown as unknown[]).length > 0)
        return settled.length === all.length && rows
      },
      { what: 'all placed or refused', deadlineMs: WAIT_MS },
    )
    // 64 MiB each: ten fit on one, five on the other.
    expect(states.filter((row) => row.node_id === 'node-a')).toHaveLength(10)
    expect(states.filter((row) => row.node_id === 'node-b')).toHaveLength(5)
    for (const node of must(await allNodes(store.db)))
      assert(node.reservedMemoryBytes <= node.facts.allocatableMemoryBytes, 'oversubscribed')
  })

  test('more than a page of unplaceable ones does not hide a placeable one behind them', async () => {
    const { store, start, until } = await loopBench(bench)
    const { nodeId } = await seedNode(store)
    const org = await seedOrg(store)
    const huge = specOf({ ...SLEEPER, memory: '1024Gi' })
    must(
      await store.write('system:test', async (tx) => {
        for (let index = 0; index < 230; index += 1) must(await createInstance(tx, newInstance(org, { spec: huge })))
        return ok(undefined)
      }),
    )
    const { id } = await seedInstance(store, org)
    start()
    expect((await until(id, 'placed', (one) => one.phase.kind === 'placed')).nodeId).toBe(nodeId)
  })

  test('what is wished stopped before it was placed stays unplaced', async () => {
    const { store, start, until, get } = await loopBench(bench)
    await seedNode(store)
    const org = await seedOrg(store)
    const { id } = await seedInstance(store, org)
    must(await store.write('system:test', (tx) => changeDesired(tx, id, () => ok({ verb: 'stop', want: 'stopped' }))))
    const { id: other } = await seedInstance(store, org)
    start()
    await until(other, 'the later one placed', (one) => one.phase.kind === 'placed')
    expect((await get(id)).nodeId).toBe(null)
  })

  test('those that wait are not read again for each new one, and are placed on the notification when an end makes room', async () => {
    const { store, startOnly, until } = await loopBench(bench)
    const { nodeId } = await seedNode(store, 'node-a', { allocatableMemoryBytes: 64 * MEBIBYTE })
    const org = await seedOrg(store)
    let rows = 0
    const counted = (deps: LoopsDeps): LoopsDeps => {
      const read: LoopsDeps['store']['read'] = {
        ...deps.store.read,
        listUnplaced: async (...given) => {
          const found = await deps.store.read.listUnplaced(...given)
          rows += found.ok ? found.value.length : 0
          return found
        },
      }
      return { ...deps, store: { ...deps.store, read } }
    }
    startOnly([(deps) => schedulerLoop(counted(deps))], { resyncMs: 3_600_000 })
    const first = await seedInstance(store, org)
    await until(first.id, 'placed', (one) => one.nodeId === nodeId)
    const waiting: InstanceId[] = []
    for (let index = 0; index < 40; index += 1) {
      const { id } = await seedInstance(store, org)
      await until(id, 'refused', (one) => one.phase.reason === 'no_node')
      waiting.push(id)
    }
    // Each is read when it is made and perhaps once more when its refusal is heard of, not 40 times.
    expect(rows).toBeLessThan(41 * 4)
    must(await store.write('system:test', (tx) => changeDesired(tx, first.id, () => ok({ verb: 'delete', want: 'deleted' }))))
    await until(waiting[0] ?? first.id, 'placed', (one) => one.nodeId === nodeId)
  })

  test('room that is made while the newest of those that wait is looked at goes to the one that has waited longest', async () => {
    const { store, startOnly, until } = await loopBench(bench)
    const { nodeId } = await seedNode(store, 'node-a', { allocatableMemoryBytes: 64 * MEBIBYTE })
    const org = await seedOrg(store)
    const { id: placed } = await seedInstance(store, org)
    let newest: InstanceId | null = null
    const overtaken = (deps: LoopsDeps): LoopsDeps => {
      const read: LoopsDeps['store']['read'] = {
        ...deps.store.read,
        listUnplaced: async (limit, after, among) => {
          if (newest !== null && among?.includes(newest)) {
            newest = null
            must(await store.write('system:test', (tx) => changeDesired(tx, placed, () => ok({ verb: 'delete', want: 'deleted' }))))
          }
          return deps.store.read.listUnplaced(limit, after, among)
        },
      }
      return { ...deps, store: { ...deps.store, read } }
    }
    startOnly([(deps) => schedulerLoop(overtaken(deps))], { resyncMs: 3_600_000 })
    await until(placed, 'placed', (one) => one.nodeId === nodeId)
    const { id: first } = await seedInstance(store, org)
    await until(first, 'refused', (one) => one.phase.reason === 'no_node')
    const { id: second } = await seedInstance(store, org)
    await until(second, 'refused', (one) => one.phase.reason === 'no_node')
    // Its label changes, so that it alone is looked at again.
    newest = second
    must(await store.write('system:test', (tx) => putMetadata(tx, second, { labels: { a: 'b' }, mode: 'merge', ifVersion: null })))
    await until(first, 'placed', (one) => one.nodeId === nodeId)
    expect(await getInstance(store.db, second)).toMatchObject({ ok: true, value: { nodeId: null } })
  })
})
