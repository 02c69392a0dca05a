import { describe, expect, test } from 'vitest'
import { err, ok } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import { nodeId, orgId } from '../support/control-records.ts'
import { ManualClock } from '../support/manual-clock.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { seedOrg } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const WRITERS = 8
const WRITES = 60

export function eventSuite(bench: AccessBench): void {
  describe('event log', () => {
    test('a reader that follows the cursor under eight concurrent writers misses nothing and sees no gap', async () => {
      const store = await bench.store({ connectionsMax: WRITERS + 2 })
      let writing = true
      const seen: number[] = []
      const labels: unknown[] = []
      const reader = (async () => {
        for (;;) {
          const last = !writing
          const page = must(await store.read.listEvents({ scope: null, after: seen.at(-1) ?? 0, limit: 50 }))
          seen.push(...page.map((event) => event.cursor))
          labels.push(...page.map((event) => event.data.label))
          if (last && page.length === 0) return
        }
      })()
      const writer = async (number: number) => {
        for (let count = 0; count < WRITES; count += 1) {
          const result = await store.write('system:test', async (tx) => {
            // Emitted early and held long: without the late lock, commits would overtake each other's cursors.
            for (let part = 0; part <= count % 3; part += 1) tx.emit({ type: 'org.created', data: { label: `${number}-${count}-${part}` } })
            must(await tx.read.latestCursor())
            return count % 7 === 6 ? err(failure('wrong_state', 'rolled back on purpose')) : ok(undefined)
          })
          expect(result.ok).toBe(count % 7 !== 6)
        }
      }
      await Promise.all(Array.from({ length: WRITERS }, (_, number) => writer(number)))
      writing = false
      await reader
      expect(seen).toEqual(Array.from({ length: seen.length }, (_, index) => index + 1))
      const expected = Array.from({ length: WRITERS }, (_, number) =>
        Array.from({ length: WRITES }, (_, count) =>
          count % 7 === 6 ? [] : Array.from({ length: (count % 3) + 1 }, (_, part) => `${number}-${count}-${part}`),
        ),
      ).flat(2)
      expect(labels.toSorted()).toEqual(expected.toSorted())
      expect(must(await store.read.latestCursor())).toBe(seen.length)
    })

    test('an organisation sees its own events and those of nodes, never those of another', async () => {
      const store = await bench.store()
      const [mine, other] = [await seedOrg(store, 'mine'), await seedOrg(store, 'other')]
      must(
        await store.write('system:test', async (tx) => {
          tx.emit({ type: 'node.connected', nodeId: nodeId('node-a') })
          return ok(undefined)
        }),
      )
      const seen = must(await store.read.listEvents({ scope: mine, after: 0, limit: 10 }))
      expect(seen.map((event) => event.orgId)).toEqual([mine, null])
      expect(must(await store.read.listEvents({ scope: null, after: 0, limit: 10 })).map((event) => event.orgId)).toEqual([
        mine,
        other,
        null,
      ])
    })

    test('trimming never reuses a cursor, even when everything is past its retention', async () => {
      const clock = new ManualClock()
      const store = await bench.store({ clock })
      await seedOrg(store, 'one')
      await seedOrg(store, 'two')
      await clock.advance(1000)
      const all = { eventsBeforeMs: clock.wallMs(), keysBeforeMs: clock.wallMs(), limit: 100 }
      expect(await store.write('system:test', (tx) => tx.trimLogs(all))).toEqual(ok(1))
      await seedOrg(store, 'three')
      expect(must(await store.read.listEvents({ scope: null, after: 0, limit: 10 })).map((event) => event.cursor)).toEqual([2, 3])
    })

    test('audit rows come newest first, page by page, and only those of the organisation', async () => {
      const store = await bench.store()
      const mine = orgId(7)
      for (const [index, org] of [mine, orgId(8), mine, mine].entries())
        must(
          await store.write('system:test', async (tx) => {
            tx.audit({ action: `act-${index}`, orgId: org, target: 'x', outcome: 'accepted', requestId: null })
            return ok(undefined)
          }),
        )
      const first = must(await store.read.listAudit({ scope: mine, limit: 2 }))
      expect(first.items.map((row) => row.action)).toEqual(['act-3', 'act-2'])
      const second = must(await store.read.listAudit({ scope: mine, limit: 2, cursor: first.nextCursor ?? '' }))
      expect(second).toMatchObject({ items: [{ action: 'act-0', actor: 'system:test' }], nextCursor: null })
      expect(await store.read.listAudit({ scope: mine, limit: 2, cursor: '1; drop' })).toMatchObject({
        ok: false,
        error: { code: 'invalid_input' },
      })
    })
  })
}
