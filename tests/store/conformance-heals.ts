import { describe, expect, test } from 'vitest'
import { ok } from '../../src/base/result.ts'
import type { InstanceId, OrgId } from '../../src/contracts/ids.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { observedOf, seedInstance, seedNode, seedOrg, seedPlaced, transitionOf } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const schedule = async (store: StoreAccess, orgId: OrgId, instanceId: InstanceId, dueAtMs: number, generation = 2) =>
  must(await store.write('system:healer', (tx) => tx.scheduleHeal({ instanceId, orgId, generation, dueAtMs, reason: 'start_failed' })))
const claim = async (store: StoreAccess, nowMs: number, lease: string, limit = 10) =>
  must(await store.claimHeals({ nowMs, leaseMs: 1000, lease, limit }))

async function pileOf(store: StoreAccess, org: OrgId, count: number, dueAtMs: number): Promise<void> {
  for (let done = 0; done < count; done += 1) await schedule(store, org, (await seedInstance(store, org)).id, dueAtMs + done)
}

export function healSuite(bench: AccessBench): void {
  describe('heals', () => {
    test('C19: two claimers never get the same row, and together get all of them', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      await pileOf(store, org, 40, 0)
      const claimed = await Promise.all(Array.from({ length: 8 }, (_, index) => claim(store, 1000, `lease-${index}`, 5)))
      const ids = claimed.flat().map((heal) => heal.instanceId)
      expect(ids.length).toBe(new Set(ids).size)
      let left = 40 - ids.length
      while (left > 0) {
        const more = await claim(store, 1000, 'last', 5)
        expect(more.length).toBeGreaterThan(0)
        left -= more.length
      }
      expect(await claim(store, 1000, 'none')).toEqual([])
    })

    test('a pile of one organisation does not hold up the first of another', async () => {
      const store = await bench.store()
      const [big, small] = [await seedOrg(store, 'big'), await seedOrg(store, 'small')]
      await pileOf(store, big, 60, 0)
      await pileOf(store, small, 2, 500)
      const first = await claim(store, 1000, 'lease', 4)
      expect(first.map((heal) => heal.orgId)).toEqual([big, small, big, small])
    })

    test('only due rows are claimed; a lease that ran out is claimable, and its old holder can do nothing', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      expect(await schedule(store, org, id, 500)).toBe(true)
      expect(await claim(store, 499, 'early')).toEqual([])
      expect(must(await store.read.nextHealDueMs())).toBe(500)
      const [old] = await claim(store, 500, 'old')
      expect(old).toMatchObject({ instanceId: id, orgId: org, attempts: 0, reason: 'start_failed', givenUp: false, lease: 'old' })
      expect(must(await store.read.nextHealDueMs())).toBe(1500)
      expect(await claim(store, 1499, 'early')).toEqual([])
      const [fresh] = await claim(store, 1500, 'fresh')
      const late = { dueAtMs: 9, attempts: 9, generation: 9, givenUp: true, lastError: null }
      expect(must(await store.write('system:healer', (tx) => tx.postponeHeal(old!, late)))).toBe(false)
      expect(must(await store.write('system:healer', (tx) => tx.finishHeal(old!)))).toBe(false)
      const put = { dueAtMs: 5000, attempts: 1, generation: 3, givenUp: false, lastError: 'start_failed: no' }
      expect(must(await store.write('system:healer', (tx) => tx.postponeHeal(fresh!, put)))).toBe(true)
      expect(must(await store.read.getHeal(id))).toMatchObject(put)
      const [again] = await claim(store, 5000, 'again')
      expect(must(await store.write('system:healer', (tx) => tx.finishHeal(again!)))).toBe(true)
      expect(must(await store.read.getHeal(id))).toBeNull()
      expect(must(await store.read.nextHealDueMs())).toBeNull()
    })

    test('work for the same or a newer generation is kept, for an older one replaced; given up is neither claimed nor due', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      await schedule(store, org, id, 0, 2)
      const [held] = await claim(store, 0, 'lease')
      must(
        await store.write('system:healer', (tx) =>
          tx.postponeHeal(held!, { dueAtMs: 0, attempts: 5, generation: 3, givenUp: true, lastError: 'x' }),
        ),
      )
      expect(await claim(store, 9999, 'other')).toEqual([])
      expect(must(await store.read.nextHealDueMs())).toBeNull()
      expect(await schedule(store, org, id, 7, 3)).toBe(false)
      expect(await schedule(store, org, id, 7, 4)).toBe(true)
      expect(must(await store.read.getHeal(id))).toMatchObject({ attempts: 0, givenUp: false, dueAtMs: 7, generation: 4 })
    })

    test('healable is what failed or was lost, is wanted running, and has no work for its generation', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId, epoch } = await seedNode(store)
      const made: InstanceId[] = []
      for (const kind of ['failed', 'lost', 'running', 'crash_looping', 'quarantined', 'degraded', 'paused', 'failed'] as const) {
        const { id } = await seedPlaced(store, org, nodeId)
        must(
          await store.write('system:link', (tx) =>
            tx.recordObserved(nodeId, epoch, [observedOf(id, { phase: transitionOf(1, null, kind).to })]),
          ),
        )
        made.push(id)
      }
      must(await store.write('token:t', (tx) => tx.changeDesired(made[7]!, () => ok({ verb: 'stop', want: 'stopped' }))))
      const found = must(await store.read.listHealable(9))
      // Oldest change first; within the same millisecond by id.
      expect(found.map((one) => one.id)).toEqual(
        found.toSorted((a, b) => a.updatedAtMs - b.updatedAtMs || (a.id < b.id ? -1 : 1)).map((one) => one.id),
      )
      const healable = async () => must(await store.read.listHealable(9)).map((one) => one.id)
      expect((await healable()).toSorted()).toEqual([made[0], made[1]].toSorted())
      await schedule(store, org, made[0]!, 0, 2)
      expect(await healable()).toEqual([made[1]])
      must(await store.write('token:t', (tx) => tx.changeDesired(made[0]!, () => ok({ verb: 'restart', restart: true }))))
      expect((await healable()).toSorted()).toEqual([made[0], made[1]].toSorted())
    })
  })
}
