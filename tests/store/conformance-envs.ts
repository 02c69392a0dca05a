import { describe, expect, test } from 'vitest'
import { ok } from '../../src/base/result.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { newId, type OrgId } from '../../src/contracts/ids.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import { membershipOf } from '../support/control-records.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { seedInstance, seedOrg } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const put = (store: StoreAccess, orgId: OrgId, given: { app?: string; env?: string; manifestHash?: string } = {}) =>
  store.write('token:t', (tx) =>
    tx.putEnv({
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

export function envSuite(bench: AccessBench): void {
  describe('envs', () => {
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
      const events = must(await store.read.listEvents({ scope: org, after: 1, limit: 9 }))
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
        const result = await store.read.findEnv(ref, org)
        return result.ok ? `${result.value.app}/${result.value.env}` : result.error.code
      }
      expect(await found(env.id)).toBe('shop/prod')
      expect(await found('blog/prod')).toBe('blog/prod')
      expect(await found('staging')).toBe('shop/staging')
      expect(await found('prod')).toBe('ambiguous_id')
      expect(await found('blog/none')).toBe('not_found')
      expect(await store.read.findEnv(env.id, other)).toMatchObject({ ok: false, error: { code: 'not_found' } })
      expect(must(await store.read.allEnvs())).toHaveLength(4)
    })

    test('an env goes only when it is marked and its last instance is gone, and takes its app along; a deploy revives it', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { env } = must(await put(store, org))
      const { id } = await seedInstance(store, org, { membership: membershipOf({ envId: env.id }) })
      const remove = async () => must(await store.write('system:rollout', (tx) => tx.removeEnv(env.id)))
      expect(await remove()).toBe(false)
      expect(must(await store.write('token:t', (tx) => tx.markEnvDeleting(env.id))).deleting).toBe(true)
      expect(await remove()).toBe(false)
      expect(must(await put(store, org))).toMatchObject({ changed: true, env: { deleting: false } })
      must(await store.write('token:t', (tx) => tx.markEnvDeleting(env.id)))
      must(await store.write('system:rollout', (tx) => tx.changeDesired(id, () => ok({ verb: 'delete', want: 'deleted' }))))
      expect(await remove()).toBe(true)
      expect(await remove()).toBe(false)
      // Its app went along: the next one is a new one.
      expect(must(await put(store, org)).env.appId).not.toBe(env.appId)
      expect(await store.write('token:t', (tx) => tx.markEnvDeleting(env.id))).toMatchObject({ ok: false, error: { code: 'not_found' } })
    })
  })
}
