import { expect, test } from 'vitest'
import { phaseOf } from '../../../tests/support/control-records.ts'
import { observedOf, seedInstance, seedNode, seedOrg, transitionOf } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import type { InstanceId } from '../../contracts/ids.ts'

describeStores('observations in number', (bench) => {
  test('a thousand instances re-adopted in one batch are stored within a second', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const { nodeId, epoch } = await seedNode(store, 'node-a', { allocatableMemoryBytes: 2 ** 50 })
    const ids: InstanceId[] = []
    for (let count = 0; count < 50; count += 1) {
      const made = await Promise.all(Array.from({ length: 20 }, () => seedInstance(store, org)))
      ids.push(...made.map((one) => one.id))
    }
    await store.db
      .updateTable('instances')
      .set({ node_id: nodeId, state: 'placed', phase: JSON.stringify(phaseOf('placed')) })
      .where('state', '=', 'pending')
      .execute()
    const startMs = performance.now()
    const items = ids.map((one) => observedOf(one, { transitions: [transitionOf(1, 'placed', 'running')] }))
    must(await store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, items)))
    expect(performance.now() - startMs).toBeLessThan(1000)
    expect(must(await store.read.allNodes())[0]).toMatchObject({ instances: 1000 })
  }, 60_000)
})
