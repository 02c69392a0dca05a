import { describe, expect, test } from 'vitest'
import { err, ok } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import { EnvId, InstanceId } from '../../src/contracts/ids.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import type { DesiredChange } from '../../src/control/store/desired-fold.ts'
import { membershipOf, SLEEPER, specOf } from '../support/control-records.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { newInstance, seedInstance, seedNode, seedOrg, seedPlaced } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const idOf = (tail: string) => InstanceId.parse(`inst_${tail.padEnd(20, '0')}`)
const remove = (store: StoreAccess, id: InstanceId) =>
  store.write('system:test', (tx) => tx.changeDesired(id, () => ok({ verb: 'delete', want: 'deleted' })))

export function instanceSuite(bench: AccessBench): void {
  describe('instances', () => {
    test('C11: what goes in comes out, NUL bytes and lone surrogates made storable', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const given = newInstance(org, {
        input: { command: ['sleep'], note: 'a\0b\ud800c' },
        labels: { app: 'web' },
        metadata: { owner: 'Zoë 🦊' },
        membership: membershipOf(),
        recoveryMode: 'observe',
        spec: specOf({ ...SLEEPER, env: { A: 'x\\u0000' } }),
      })
      const made = must(await store.write('system:test', (tx) => tx.createInstance(given)))
      expect(must(await store.read.getInstance(given.id))).toEqual(made)
      expect(made).toMatchObject({
        input: { command: ['sleep'], note: 'a\ufffdb\ufffdc' },
        labels: { app: 'web' },
        metadata: { owner: 'Zoë 🦊' },
        membership: membershipOf(),
        spec: given.spec,
        want: 'running',
        generation: 1,
        version: 1,
        phase: { kind: 'pending', reason: 'waiting_for_node' },
      })
      expect(must(await store.read.listEvents({ scope: org, after: 0, limit: 9, instanceId: given.id }))).toMatchObject([
        { type: 'instance.created' },
      ])
    })

    test('a name is unique per organisation among live instances, and free again after the deletion', async () => {
      const store = await bench.store()
      const [org, other] = [await seedOrg(store, 'one'), await seedOrg(store, 'two')]
      const first = await seedInstance(store, org, { name: 'web' })
      const again = () => store.write('system:test', (tx) => tx.createInstance(newInstance(org, { name: 'web' })))
      expect(await again()).toMatchObject({ ok: false, error: { code: 'name_taken', fields: { name: 'web' } } })
      await seedInstance(store, other, { name: 'web' })
      must(await remove(store, first.id))
      expect(await again()).toMatchObject({ ok: true })
    })

    test('of many launches with one name at once exactly one succeeds', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const results = await Promise.all(
        Array.from({ length: 10 }, () => store.write('system:test', (tx) => tx.createInstance(newInstance(org, { name: 'web' })))),
      )
      expect(results.filter((result) => result.ok)).toHaveLength(1)
      expect(new Set(results.flatMap((result) => (result.ok ? [] : [result.error.code])))).toEqual(new Set(['name_taken']))
    })

    test('T03: an instance is found by id, by name, by unique prefix, and never across organisations', async () => {
      const store = await bench.store()
      const [org, other] = [await seedOrg(store, 'one'), await seedOrg(store, 'two')]
      await seedInstance(store, org, { id: idOf('aaa1'), name: 'web' })
      await seedInstance(store, org, { id: idOf('aaa2'), name: 'db' })
      await seedInstance(store, other, { id: idOf('aab1'), name: 'web' })
      const found = async (ref: string, scope: typeof org | null) => {
        const result = await store.read.findInstance(ref, scope)
        return result.ok ? result.value.id : result.error.code
      }
      expect(await found(idOf('aaa1'), org)).toBe(idOf('aaa1'))
      expect(await found('web', org)).toBe(idOf('aaa1'))
      expect(await found('inst_aaa2', org)).toBe(idOf('aaa2'))
      expect(await found('inst_aaa', org)).toBe('ambiguous_id')
      expect(await found('inst_aab', org)).toBe('not_found')
      expect(await found(idOf('aab1'), org)).toBe('not_found')
      expect(await found('web', null)).toBe('ambiguous_id')
      expect(await found('inst_aab', null)).toBe(idOf('aab1'))
      expect(await found(`x' or '1'='1`, org)).toBe('not_found')
      expect(await found('inst_a%', org)).toBe('not_found')
    })

    test('a deleted instance is evidence: found by its whole id only, listed on request, purged after its retention with its history', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const gone = await seedInstance(store, org, { name: 'web' })
      const kept = await seedInstance(store, org, { name: 'db' })
      must(await remove(store, gone.id))
      expect(must(await store.read.findInstance(gone.id, org)).phase.kind).toBe('deleted')
      expect(await store.read.findInstance('web', org)).toMatchObject({ ok: false })
      expect(must(await store.read.listInstances({ scope: org, limit: 9 })).items.map((one) => one.id)).toEqual([kept.id])
      expect(must(await store.read.listInstances({ scope: org, limit: 9, includeDeleted: true })).items).toHaveLength(2)
      const deletedAtMs = must(await store.read.getInstance(gone.id))?.deletedAtMs ?? 0
      expect(must(await store.read.listTransitions(gone.id))).toMatchObject([{ seq: 1, from: 'pending', to: { kind: 'deleted' } }])
      expect(must(await store.write('system:test', (tx) => tx.purgeInstances(deletedAtMs, 10)))).toBe(0)
      expect(must(await store.write('system:test', (tx) => tx.purgeInstances(deletedAtMs + 1, 10)))).toBe(1)
      expect(must(await store.read.getInstance(gone.id))).toBeNull()
      expect(must(await store.read.listTransitions(gone.id))).toEqual([])
    })

    test('pages are complete and without repetition while rows come and go', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const made = []
      for (let count = 0; count < 23; count += 1) made.push((await seedInstance(store, org)).id)
      const seen: string[] = []
      let cursor: string | undefined
      do {
        const page = must(await store.read.listInstances({ scope: org, limit: 5, ...(cursor !== undefined && { cursor }) }))
        seen.push(...page.items.map((one) => one.id))
        await seedInstance(store, org)
        cursor = page.nextCursor ?? undefined
      } while (cursor !== undefined)
      expect(seen).toEqual(made.toSorted().toReversed())
      expect(await store.read.listInstances({ scope: org, limit: 5, cursor: 'inst_' })).toMatchObject({
        ok: false,
        error: { code: 'invalid_input' },
      })
    })

    test('lists filter by state, name, env and node', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId } = await seedNode(store)
      const envId = EnvId.parse('env_00000000000000000009')
      const placed = await seedPlaced(store, org, nodeId, { name: 'web' })
      const member = await seedInstance(store, org, { name: 'db', membership: membershipOf({ envId, slot: 1 }) })
      const first = await seedInstance(store, org, { membership: membershipOf({ envId, slot: 0 }) })
      const ids = async (query: object) =>
        must(await store.read.listInstances({ scope: org, limit: 9, ...query })).items.map((one) => one.id)
      expect(await ids({ state: 'placed' })).toEqual([placed.id])
      expect(await ids({ nodeId })).toEqual([placed.id])
      expect(await ids({ name: 'db' })).toEqual([member.id])
      expect((await ids({ envId })).toSorted()).toEqual([member.id, first.id].toSorted())
      expect(must(await store.read.listEnvInstances(envId)).map((one) => one.id)).toEqual([first.id, member.id])
    })
  })

  describe('labels and metadata', () => {
    test('merge sets and deletes, replace replaces, and the platform keys stay', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org, { labels: { a: '1', b: '2', 'holdfast.io/app': 'shop' }, metadata: { note: 'x' } })
      const put = async (change: object) =>
        must(await store.write('token:t', (tx) => tx.putMetadata(id, { mode: 'merge', ifVersion: null, ...change })))
      expect(await put({ labels: { a: null, c: '3' } })).toMatchObject({
        labels: { b: '2', c: '3', 'holdfast.io/app': 'shop' },
        metadata: { note: 'x' },
        version: 2,
      })
      const replaced = await put({ mode: 'replace', labels: { d: '4' }, metadata: {} })
      expect(replaced.labels).toEqual({ d: '4', 'holdfast.io/app': 'shop' })
      expect(replaced.metadata).toEqual({})
      expect(must(await store.read.getInstance(id))).toEqual(replaced)
      const events = must(await store.read.listEvents({ scope: org, after: 0, limit: 9, instanceId: id }))
      expect(events.at(-1)).toMatchObject({ type: 'instance.metadata_changed', data: { version: 3, actor: 'token:t' } })
    })

    test('C10: of concurrent writers with the same If-Match exactly one wins; the others hear the version', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      const results = await Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          store.write('token:t', (tx) => tx.putMetadata(id, { mode: 'merge', ifVersion: 1, labels: { winner: String(index) } })),
        ),
      )
      expect(results.filter((result) => result.ok)).toHaveLength(1)
      for (const result of results)
        if (!result.ok) expect(result.error).toMatchObject({ code: 'version_conflict', fields: { expected: 1, version: 2 } })
    })

    test('C10: concurrent merges of different keys all survive', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      await Promise.all(
        Array.from({ length: 12 }, (_, index) =>
          store.write('token:t', (tx) => tx.putMetadata(id, { mode: 'merge', ifVersion: null, labels: { [`k${index}`]: 'v' } })),
        ),
      )
      expect(Object.keys(must(await store.read.getInstance(id))?.labels ?? {})).toHaveLength(12)
    })

    test('a merge that would break a limit is refused with the field, and changes nothing', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org, {
        labels: Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`k${index}`, 'v'])),
      })
      const put = (labels: Record<string, string | null>) =>
        store.write('token:t', (tx) => tx.putMetadata(id, { mode: 'merge', ifVersion: null, labels }))
      expect(await put({ more: 'x' })).toMatchObject({ ok: false, error: { code: 'invalid_input', fields: { field: 'labels' } } })
      expect(await put({ more: 'x', k0: null })).toMatchObject({ ok: true })
      expect(must(await store.read.getInstance(id))?.version).toBe(2)
    })
  })

  describe('desired state', () => {
    test('each verb raises the generation by one and its counter by one, under concurrency too', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      await Promise.all(
        Array.from({ length: 10 }, () =>
          store.write('token:t', (tx) => tx.changeDesired(id, () => ok({ verb: 'restart', restart: true }))),
        ),
      )
      const now = must(
        await store.write('token:t', (tx) =>
          tx.changeDesired(id, () => ok({ verb: 'recover', recover: true, heal: true, recoveryMode: 'off' })),
        ),
      )
      expect(now).toMatchObject({
        generation: 12,
        version: 12,
        restartSeq: 10,
        recoverSeq: 1,
        healSeq: 1,
        recoveryMode: 'off',
        want: 'running',
      })
    })

    test('modes are changed with a new generation, and are no wish: whose wish the newest one is stays known', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const env = { recovery: 'observe', checks: 'off' } as const
      const { id } = await seedInstance(store, org, { envModes: env })
      const change = (given: DesiredChange) => store.write('token:t', (tx) => tx.changeDesired(id, () => ok(given)))
      expect(must(await store.read.getInstance(id))).toMatchObject({
        envModes: env,
        checksMode: null,
        wishGeneration: 1,
        wishedBy: 'system:test',
      })
      must(await change({ verb: 'recovery', recoveryMode: 'on', checksMode: 'on' }))
      must(await change({ verb: 'modes', envModes: { recovery: null, checks: null } }))
      const now = must(await store.read.getInstance(id))
      expect(now).toMatchObject({ generation: 3, wishGeneration: 1, wishedBy: 'system:test', recoveryMode: 'on', checksMode: 'on' })
      expect(now?.envModes).toEqual({ recovery: null, checks: null })
      must(await change({ verb: 'restart', restart: true }))
      expect(must(await store.read.getInstance(id))).toMatchObject({ generation: 4, wishGeneration: 4, wishedBy: 'token:t' })
    })

    test('the decision sees the row as it is under the lock: a heal does not revive what was stopped meanwhile', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
      const stopping = store.write('token:t', async (tx) => {
        const result = await tx.changeDesired(id, () => ok({ verb: 'stop', want: 'stopped' }))
        stop()
        return result
      })
      await stopped
      const heal = await store.write('system:healer', (tx) =>
        tx.changeDesired(id, (now) => ok(now.want === 'running' ? { verb: 'heal', heal: true } : null)),
      )
      must(await stopping)
      expect(must(heal)).toMatchObject({ want: 'stopped', healSeq: 0, generation: 2 })
    })

    test('a refusal and a null change nothing', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const made = await seedInstance(store, org)
      const refused = await store.write('token:t', (tx) => tx.changeDesired(made.id, () => err(failure('unsupported', 'cannot pause'))))
      expect(refused).toMatchObject({ ok: false, error: { code: 'unsupported' } })
      must(await store.write('token:t', (tx) => tx.changeDesired(made.id, () => ok(null))))
      expect(must(await store.read.getInstance(made.id))).toEqual(made)
    })

    test('what is being deleted takes no other wish, and a second delete is the same one', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId } = await seedNode(store)
      const { id } = await seedPlaced(store, org, nodeId)
      const first = must(await remove(store, id))
      expect(first).toMatchObject({ want: 'deleted', deletedAtMs: null, generation: 3 })
      expect(must(await remove(store, id))).toEqual(first)
      const start = await store.write('token:t', (tx) => tx.changeDesired(id, () => ok({ verb: 'start', want: 'running' })))
      expect(start).toMatchObject({ ok: false, error: { code: 'wrong_state' } })
    })

    test('deleting what was never placed deletes it at once; then it is not found', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { id } = await seedInstance(store, org)
      expect(must(await remove(store, id))).toMatchObject({ phase: { kind: 'deleted' } })
      expect(await remove(store, id)).toMatchObject({ ok: false, error: { code: 'not_found' } })
      const types = must(await store.read.listEvents({ scope: org, after: 0, limit: 9, instanceId: id })).map((event) => event.type)
      expect(types).toEqual(['instance.created', 'instance.desired_changed', 'instance.state_changed', 'instance.deleted'])
    })
  })
}
