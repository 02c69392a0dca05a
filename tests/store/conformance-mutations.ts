import { describe, expect, test } from 'vitest'
import { err, ok } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import type { OrgId } from '../../src/contracts/ids.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import type { Mutation } from '../../src/control/store/mutation.ts'
import { ManualClock } from '../support/manual-clock.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { mutationOf, newInstance, seedOrg } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const launch = (store: StoreAccess, orgId: OrgId, given: Partial<Mutation> = {}) =>
  store.mutate(mutationOf(orgId, given), async (tx) => {
    const made = await tx.createInstance(newInstance(orgId))
    return made.ok ? ok({ status: 202, body: { id: made.value.id }, target: made.value.id }) : made
  })

export function mutationSuite(bench: AccessBench): void {
  describe('mutations', () => {
    test('twenty concurrent duplicates execute once and all get the same reply', async () => {
      const store = await bench.store({ connectionsMax: 20 })
      const org = await seedOrg(store)
      const replies = (await Promise.all(Array.from({ length: 20 }, () => launch(store, org)))).map(must)
      const all = must(await store.read.listInstances({ scope: org, limit: 50 }))
      expect(all.items).toHaveLength(1)
      expect(new Set(replies.map((reply) => JSON.stringify([reply.status, reply.body])))).toEqual(
        new Set([JSON.stringify([202, { id: all.items[0]?.id }])]),
      )
      expect(replies.filter((reply) => !reply.replayed)).toHaveLength(1)
      expect(must(await store.read.listAudit({ scope: org, limit: 50 })).items).toMatchObject([
        { action: 'createInstance', outcome: 'accepted', target: all.items[0]?.id },
      ])
    })

    test('the same key with another request is a conflict and does nothing', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      must(await launch(store, org))
      const second = await launch(store, org, { idempotency: { scope: 'org token route', key: 'key-00000001', requestHash: 'hash-b' } })
      expect(second).toMatchObject({ ok: false, error: { code: 'idempotency_conflict' } })
      expect(must(await store.read.listInstances({ scope: org, limit: 50 })).items).toHaveLength(1)
    })

    test('the same key in another scope is another key, and without a key everything executes', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      must(await launch(store, org))
      must(await launch(store, org, { idempotency: { scope: 'another token', key: 'key-00000001', requestHash: 'hash-a' } }))
      must(await launch(store, org, { idempotency: null }))
      must(await launch(store, org, { idempotency: null }))
      expect(must(await store.read.listInstances({ scope: org, limit: 50 })).items).toHaveLength(4)
    })

    test('a refusal changes nothing, is audited as refused, and does not use up the key', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const before = must(await store.read.listEvents({ scope: org, after: 0, limit: 50 })).length
      const refused = await store.mutate(mutationOf(org), async (tx) => {
        must(await tx.createInstance(newInstance(org)))
        return err(failure('quota_exceeded', 'no more'))
      })
      expect(refused).toMatchObject({ ok: false, error: { code: 'quota_exceeded' } })
      expect(must(await store.read.listInstances({ scope: org, limit: 50 })).items).toEqual([])
      expect(must(await store.read.listEvents({ scope: org, after: 0, limit: 50 }))).toHaveLength(before)
      expect(must(await store.read.listAudit({ scope: org, limit: 50 })).items).toMatchObject([
        { outcome: 'refused', target: 'web', data: { code: 'quota_exceeded' } },
      ])
      expect(must(await launch(store, org)).replayed).toBe(false)
    })

    test('a duplicate waiting for one that is refused executes itself', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { promise: started, resolve: start } = Promise.withResolvers<void>()
      const { promise: released, resolve: release } = Promise.withResolvers<void>()
      const first = store.mutate(mutationOf(org), async () => {
        start()
        await released
        return err(failure('no_node', 'not now'))
      })
      await started
      const second = launch(store, org)
      release()
      expect(await first).toMatchObject({ ok: false })
      expect(must(await second).replayed).toBe(false)
    })

    test('a secret in the reply is not stored: a replay gets what was meant for it', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const run = () =>
        store.mutate(mutationOf(org), async () => ok({ status: 201, body: { secret: 'hunter2' }, replayBody: { secret: null } }))
      expect(must(await run())).toEqual({ status: 201, body: { secret: 'hunter2' }, replayed: false })
      expect(must(await run())).toEqual({ status: 201, body: { secret: null }, replayed: true })
    })

    test('a replay is the first answer, byte for byte', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      // Neither in the order of length nor of the alphabet; and what a workload may have said.
      const body = { name: 'web', id: 'x', 7: [{ z: 1e21, a: 0.1, left: undefined }], error: { detail: 'a\0b\ud800', code: null }, b: '' }
      const run = () => store.mutate(mutationOf(org), async () => ok({ status: 202, body }))
      const first = must(await run())
      const second = must(await run())
      expect([first.replayed, second.replayed]).toEqual([false, true])
      expect(JSON.stringify(second.body)).toBe(JSON.stringify(first.body))
    })

    test.each([1000, 7 * 86_400_000])('a key past its retention (%s ms) is a new one, and no other', async (keysKeptMs) => {
      const clock = new ManualClock()
      const store = await bench.store({ clock, keysKeptMs })
      const org = await seedOrg(store)
      must(await launch(store, org))
      await clock.advance(keysKeptMs - 1)
      expect(must(await launch(store, org)).replayed).toBe(true)
      await clock.advance(2)
      expect(must(await launch(store, org)).replayed).toBe(false)
      expect(must(await launch(store, org)).replayed).toBe(true)
    })
  })
}
