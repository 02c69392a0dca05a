// What lives as long as a database session leaves nothing behind.
import { test } from 'vitest'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'

const CUT = 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'

describeStores('closing', (bench) => {
  test('a store closes at once while it is reconnecting, and leaves no connection', async () => {
    const target = await bench.database()
    const client = await bench.connect(target)
    for (let round = 0; round < 10; round += 1) {
      const store = await bench.store({ target })
      await client.query(CUT)
      // At a different moment of the reconnection each time.
      for (let turn = 0; turn < round * 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
      await store.close()
    }
    await waitFor(async () => (await client.query(CUT)).rowCount === 0, { what: 'no connection is left behind', deadlineMs: 5000 })
  })

  test('a store that held and awaited leases leaves no connection', async () => {
    const target = await bench.database()
    const [a, b] = [await bench.store({ target }), await bench.store({ target })]
    const never = new AbortController().signal
    must(await a.lease('healer', never))
    const waiting = b.lease('healer', never)
    await b.close()
    await waiting
    await a.close()
    const client = await bench.connect(target)
    const ours = `select 1 from pg_stat_activity where application_name = 'holdfast' and datname = current_database()`
    await waitFor(async () => (await client.query(ours)).rowCount === 0, { what: 'no connection is left behind', deadlineMs: 5000 })
  })
})
