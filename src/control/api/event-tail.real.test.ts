import type { KyselyPlugin } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeEmbeddedStore, must } from '../../../tests/support/stores.ts'
import { silentLogger } from '../../base/log.ts'
import { ok } from '../../base/result.ts'
import { systemClock } from '../../base/system.ts'
import { LIMITS } from '../limits.ts'
import { latestCursor } from '../store/events.ts'
import { EventTail } from './event-tail.ts'

describeEmbeddedStore('the tail of events', (bench) => {
  test('the first reader after a quiet time is not made to wait for all that happened meanwhile', async () => {
    const store = await bench.store()
    const orgId = await seedOrg(store)
    const emit = (count: number) =>
      store.write('system:test', async (tx) => {
        for (let index = 0; index < count; index += 1) tx.emit({ type: 'org.created', orgId, data: { index } })
        return ok(undefined)
      })
    let rowsRead = 0
    const counting: KyselyPlugin = {
      transformQuery: ({ node }) => node,
      transformResult: async ({ result }) => {
        rowsRead += result.rows.length
        return result
      },
    }
    const tail = new EventTail({
      store: { ...store, db: store.db.withPlugin(counting) },
      clock: systemClock,
      limits: { ...LIMITS, eventPollMs: 60_000 },
      log: silentLogger,
    })
    onTestFinished(() => tail.close())
    const everything = { scope: null, instanceId: null }
    const leave = tail.join()
    must(await emit(3))
    expect(must(await tail.after(0, everything)).events.length).toBeGreaterThan(0)
    leave()
    must(await emit(1500))
    const newest = must(await latestCursor(store.db))
    rowsRead = 0
    onTestFinished(tail.join())
    const { events, upTo } = must(await tail.after(newest - 5, everything))
    expect(events.map(({ cursor }) => cursor)).toEqual([4, 3, 2, 1, 0].map((back) => newest - back))
    expect(upTo).toBe(newest)
    expect(rowsRead).toBeLessThan(100)
  })
})
