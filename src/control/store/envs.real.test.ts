import { expect, test } from 'vitest'
import { membershipOf } from '../../../tests/support/control-records.ts'
import { seedInstance, seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { ok } from '../../base/result.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { newId, type OrgId } from '../../contracts/ids.ts'
import { allEnvs, findEnv, listEnvs, markEnvDeleting, putEnv, removeEnv } from './envs.ts'
import { listEvents } from './events.ts'
import { changeDesired } from './instance-changes.ts'
import type { Store } from './store.ts'

const put = (store: Store, orgId: OrgId, given: { app?: string; env?: string; manifestHash?: string } = {}) =>
  store.write('token:t', (tx) =>
    putEnv(tx, {
      orgId,
      app: 'shop',
      env: 'prod',
      manifest: { processes: {} },
      manifestHash: 'sha256:one',
      newAppId: newId.app(systemClock, systemRandom),
      newEnvId: newId.env(systemClock, systemRandom),
      ...given,
    }),
  )

describeStores('envs', (bench) => {
  test('a first deploy makes app and env, also when two come at once; the same manifest again changes nothing', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const results = (await Promise.all([put(store, org), put(store, org), put(store, org)])).map(must)
    expect(new Set(results.map((result) => result.env.id)).size).toBe(1)
    expect(results.filter((result) => result.changed)).toHaveLength(1)
    const moved = must(await put(store, org, { manifestHash: 'sha256:two' }))
    expect(moved).toMatchObject({
      changed: true,
      env: { id: results[0]!.env.id, app: 'shop', env: 'prod', manifestHash: 'sha256:two', deleting: false },
    })
    const events = must(await listEvents(store.db, { scope: org, after: 1, limit: 9 }))
    expect(events.map((event) => event.data.hash)).toEqual(['sha256:one', 'sha256:two'])
  })

  test('an env is found by id, by app/env, by unique name, within the organisation', async () => {
    const store = await bench.store()
    const [org, other] = [await seedOrg(store, 'one'), await seedOrg(store, 'two')]
    const { env } = must(await put(store, org))
    must(await put(store, org, { env: 'staging' }))
    must(await put(store, org, { app: 'blog' }))
    must(await put(store, other))
    const found = async (ref: string) => {
      const result = await findEnv(store.db, ref, org)
      return result.ok ? `${result.value.app}/${result.value.env}` : result.error.code
    }
    expect(await found(env.id)).toBe('shop/prod')
    expect(await found('blog/prod')).toBe('blog/prod')
    expect(await found('staging')).toBe('shop/staging')
    expect(await found('prod')).toBe('ambiguous_id')
    expect(await found('blog/none')).toBe('not_found')
    expect(await findEnv(store.db, env.id, other)).toMatchObject({ ok: false, error: { code: 'not_found' } })
    expect(must(await listEnvs(store.db, { scope: org, app: 'shop', limit: 9 })).items).toHaveLength(2)
    expect(must(await allEnvs(store.db))).toHaveLength(4)
  })

  test('an env goes only when it is marked and its last instance is gone, and takes its app along; a deploy revives it', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const { env } = must(await put(store, org))
    const { id } = await seedInstance(store, org, { membership: membershipOf({ envId: env.id }) })
    const remove = async () => must(await store.write('system:rollout', (tx) => removeEnv(tx, env.id)))
    expect(await remove()).toBe(false)
    expect(must(await store.write('token:t', (tx) => markEnvDeleting(tx, env.id))).deleting).toBe(true)
    expect(await remove()).toBe(false)
    expect(must(await put(store, org))).toMatchObject({ changed: true, env: { deleting: false } })
    must(await store.write('token:t', (tx) => markEnvDeleting(tx, env.id)))
    must(await store.write('system:rollout', (tx) => changeDesired(tx, id, () => ok({ verb: 'delete', want: 'deleted' }))))
    expect(await remove()).toBe(true)
    expect(await remove()).toBe(false)
    expect(await store.db.selectFrom('apps').selectAll().execute()).toEqual([])
    expect(await store.write('token:t', (tx) => markEnvDeleting(tx, env.id))).toMatchObject({ ok: false, error: { code: 'not_found' } })
  })
})
