import { expect, test } from 'vitest'
import { seedInstance, seedNode, seedOrg, seedPlaced } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { countInstances } from './instances.ts'

describeStores('counting instances', (bench) => {
  test('live ones are counted by runtime and state', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const { nodeId } = await seedNode(store)
    await seedPlaced(store, org, nodeId)
    for (let count = 0; count < 2; count += 1) await seedInstance(store, org)
    expect(must(await countInstances(store.db)).toSorted((a, b) => a.count - b.count)).toMatchObject([
      { runtime: 'fake', state: 'placed', count: 1 },
      { runtime: 'fake', state: 'pending', count: 2 },
    ])
  })
})
