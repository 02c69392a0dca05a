import fc from 'fast-check'
import { expect, test } from 'vitest'
import { seedInstance, seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { matches, parseSelector, type Selector, type SelectorTerm } from '../../contracts/selector.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { listInstances } from './instances.ts'

// Few keys and values, so that terms meet labels; some that would break naive quoting or JSON paths.
const KEY = fc.constantFrom('app', 'tier', 'a.b', 'a/b', 'x-y', 'zone')
const VALUE = fc.constantFrom('', 'web', 'db', '1', 'true', 'null', 'A.b_c-d')
const LABELS = fc.dictionary(KEY, VALUE, { maxKeys: 5 })
const VALUES = fc.array(VALUE, { minLength: 1, maxLength: 4 })
const TERM: fc.Arbitrary<SelectorTerm> = fc.oneof(
  fc.record({ op: fc.constantFrom('in' as const, 'notin' as const), key: KEY, values: VALUES }),
  fc.record({ op: fc.constantFrom('exists' as const, 'absent' as const), key: KEY }),
)
const SELECTOR: fc.Arbitrary<Selector> = fc.array(TERM, { maxLength: 4 })

describeStores('selectors', (bench) => {
  test('the SQL of a selector matches exactly what `matches` does', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const population = fc.sample(LABELS, { numRuns: 60, seed: 7 })
    const made: InstanceRecord[] = []
    for (const labels of population) made.push(await seedInstance(store, org, { labels }))
    let hits = 0
    await fc.assert(
      fc.asyncProperty(SELECTOR, async (selector) => {
        const found = must(await listInstances(store.db, { scope: org, selector, limit: 200 })).items.map((one) => one.id)
        const expected = made.filter((one) => matches(selector, one.labels)).map((one) => one.id)
        expect(found.toSorted()).toEqual(expected.toSorted())
        if (expected.length > 0 && expected.length < made.length) hits += 1
      }),
      { numRuns: 300 },
    )
    // Otherwise the property would hold by matching nothing, or everything.
    expect(hits).toBeGreaterThan(50)
  })

  test('C9: a selector as a person writes it', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const web = await seedInstance(store, org, { labels: { app: 'web', zone: 'a' } })
    await seedInstance(store, org, { labels: { app: 'web', zone: 'b', canary: '' } })
    await seedInstance(store, org, { labels: { app: 'db' } })
    const selector = must(parseSelector('app=web, zone in (a,c), !canary'))
    expect(must(await listInstances(store.db, { scope: org, selector, limit: 9 })).items.map((one) => one.id)).toEqual([web.id])
  })
})
