import { expect, test } from 'vitest'
import { seedNode } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { listNodes } from './nodes.ts'

describeStores('listing nodes', (bench) => {
  test('nodes are listed by id, page by page', async () => {
    const store = await bench.store()
    for (const name of ['web-1', 'web-2', 'db.local']) await seedNode(store, name)
    const first = must(await listNodes(store.db, { limit: 2 }))
    expect(first.items.map((node) => node.id)).toEqual(['db.local', 'web-1'])
    expect(must(await listNodes(store.db, { limit: 2, cursor: first.nextCursor ?? '' }))).toMatchObject({
      items: [{ id: 'web-2' }],
      nextCursor: null,
    })
  })
})
