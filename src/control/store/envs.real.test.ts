import { expect, test } from 'vitest'
import { seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { newId } from '../../contracts/ids.ts'
import { listEnvs } from './envs.ts'

describeStores('listing envs', (bench) => {
  test('envs are listed by organisation and app, and an app goes with its last env', async () => {
    const store = await bench.store()
    const [org, other] = [await seedOrg(store, 'one'), await seedOrg(store, 'two')]
    for (const [orgId, app, env] of [
      [org, 'shop', 'prod'],
      [org, 'shop', 'staging'],
      [org, 'blog', 'prod'],
      [other, 'shop', 'prod'],
    ] as const) {
      const ids = { newAppId: newId.app(systemClock, systemRandom), newEnvId: newId.env(systemClock, systemRandom) }
      must(await store.write('token:t', (tx) => tx.putEnv({ orgId, app, env, manifest: {}, manifestHash: 'sha256:one', ...ids })))
    }
    const shop = must(await listEnvs(store.db, { scope: org, app: 'shop', limit: 9 })).items
    expect(shop.map((one) => one.env)).toEqual(['prod', 'staging'])
    for (const { id } of shop) {
      must(await store.write('token:t', (tx) => tx.markEnvDeleting(id)))
      must(await store.write('system:rollout', (tx) => tx.removeEnv(id)))
    }
    const apps = await store.db.selectFrom('apps').select('name').where('org_id', '=', org).execute()
    expect(apps).toEqual([{ name: 'blog' }])
  })
})
