import { CompiledQuery } from 'kysely'
import { expect, test } from 'vitest'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { seedInstance, seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { silentLogger } from '../../base/log.ts'
import { ok } from '../../base/result.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { startPostgres } from '../postgres/launch.ts'
import { attempt } from './attempt.ts'
import { getInstance, listInstances } from './instances.ts'
import { openStore } from './store.ts'

const given = { clock: systemClock, random: systemRandom, log: silentLogger }

describeStores('store', (bench) => {
  test('three replicas that start at once on an empty database all come up, and each migration is applied once', async () => {
    const target = await bench.database()
    const stores = await Promise.all([1, 2, 3].map(() => bench.store({ target })))
    const client = await bench.connect(target)
    const { rows } = await client.query('select name, count(*)::int as times from kysely_migration group by name order by name')
    expect(rows).toEqual([
      { name: '0001-first', times: 1 },
      { name: '0002-modes', times: 1 },
      { name: '0003-purge', times: 1 },
      { name: '0004-verbatim-answers', times: 1 },
    ])
    for (const store of stores) expect(await store.health()).toMatchObject({ ok: true })
  })

  test('a database written by a newer release is refused, not used', async () => {
    const target = await bench.database()
    await bench.store({ target })
    const client = await bench.connect(target)
    await client.query(`insert into kysely_migration (name, timestamp) values ('9999-future', '2099-01-01T00:00:00.000Z')`)
    expect(await openStore({ ...given, target })).toMatchObject({ ok: false, error: { code: 'invalid_config' } })
  })

  test('a database that is not UTF8 is refused by name', async () => {
    const target = await bench.database()
    const client = await bench.connect(target)
    await client.query(`create database hf_latin_${process.pid} encoding 'LATIN1' locale 'C' template template0`)
    const latin =
      'url' in target
        ? { url: target.url.replace(/\/[^/]*$/, `/hf_latin_${process.pid}`) }
        : { ...target, database: `hf_latin_${process.pid}` }
    const opened = await openStore({ ...given, target: latin })
    await client.query(`drop database hf_latin_${process.pid} with (force)`)
    expect(opened).toMatchObject({ ok: false, error: { code: 'invalid_config', fields: { encoding: 'LATIN1' } } })
  })

  test('a database that is absent, and a user that may not create tables, are configuration errors', async () => {
    const target = await bench.database()
    const client = await bench.connect(target)
    const absent = 'url' in target ? { url: `${target.url}_absent` } : { ...target, database: 'absent' }
    expect(await openStore({ ...given, target: absent })).toMatchObject({
      ok: false,
      error: { code: 'invalid_config', fields: { sqlstate: '3D000' } },
    })
    const role = `hf_role_${process.pid}`
    await client.query(`create role ${role} login`)
    const limited = 'url' in target ? { url: target.url.replace('postgres@', `${role}@`) } : { ...target, user: role }
    const opened = await openStore({ ...given, target: limited })
    await client.query(`drop role ${role}`)
    expect(opened).toMatchObject({ ok: false, error: { code: 'invalid_config', fields: { field: 'HOLDFAST_DATABASE_URL' } } })
  })

  test('connections cut by the server fail the queries they carried with store_unavailable, and the next ones work', async () => {
    const target = await bench.database()
    const store = await bench.store({ target })
    const org = await seedOrg(store)
    const made = await seedInstance(store, org)
    const client = await bench.connect(target)
    const cut = store.write('system:test', async (tx) => {
      await client.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
      )
      const read = await getInstance(tx.db, made.id)
      return read.ok ? ok(undefined) : read
    })
    expect(await cut).toMatchObject({ ok: false, error: { code: 'store_unavailable' } })
    await waitFor(async () => (await getInstance(store.db, made.id)).ok, { what: 'the pool reconnects', deadlineMs: 5000 })
    await seedInstance(store, org)
  })

  test('a lock that is not released in time reads as store_unavailable', async () => {
    const target = await bench.database()
    const store = await bench.store({ target })
    const client = await bench.connect(target)
    await client.query('begin; lock table instances in access exclusive mode')
    const result = await store.write('system:test', async (tx) => {
      await tx.db.executeQuery(CompiledQuery.raw(`set local lock_timeout = '50ms'`))
      return listInstances(tx.db, { scope: null, limit: 1 })
    })
    expect(result).toMatchObject({ ok: false, error: { code: 'store_unavailable', fields: { sqlstate: '55P03' } } })
  })

  test('a query that is wrong is a bug and throws, it is never taken for an outage', async () => {
    const store = await bench.store()
    const wrong = attempt(() => store.db.executeQuery(CompiledQuery.raw('select nonsense from nowhere')))
    await expect(wrong).rejects.toMatchObject({ code: '42P01' })
  })
})

test('no server at the address: store_unavailable with its errno, within the connection timeout', async () => {
  const opened = await openStore({ ...given, target: { url: 'postgresql://nobody@127.0.0.1:1/none' } })
  expect(opened).toMatchObject({ ok: false, error: { code: 'store_unavailable', fields: { cause: 'ECONNREFUSED' } } })
})

test('a URL that is none is a configuration error that names the setting', async () => {
  const opened = await openStore({ ...given, target: { url: 'http://[' } })
  expect(opened).toMatchObject({ ok: false, error: { code: 'invalid_config', fields: { field: 'HOLDFAST_DATABASE_URL' } } })
})

describeNeeds('embedded-postgres', 'a database that goes away', () => {
  test('is store_unavailable while it is down, works again by itself, and has every acknowledged row', async () => {
    const postgres = must(await startPostgres({ ...given, dataDir: await tmpDir() }))
    const store = must(await openStore({ ...given, target: postgres.target }))
    try {
      const org = await seedOrg(store)
      const acknowledged: string[] = []
      const refused = new Set<string>()
      let writing = true
      const writers = Array.from({ length: 4 }, async () => {
        while (writing) {
          try {
            acknowledged.push((await seedInstance(store, org)).id)
          } catch (error) {
            refused.add(
              error instanceof Error && error.cause && typeof error.cause === 'object' && 'code' in error.cause
                ? String(error.cause.code)
                : String(error),
            )
          }
        }
      })
      const changes: unknown[] = []
      store.listen((change) => change === null && changes.push(change))
      for (let round = 0; round < 3; round += 1) {
        const before = acknowledged.length
        await waitFor(() => acknowledged.length > before + 20, { what: 'writes', deadlineMs: 10_000 })
        const pid = must({ ok: true, value: postgres.pid() })
        process.kill(Number(pid), 'SIGKILL')
        await waitFor(() => postgres.pid() !== null && postgres.pid() !== pid, { what: 'a new server', deadlineMs: 20_000 })
      }
      await waitFor(() => changes.length > 0, { what: 'listeners are told to look again', deadlineMs: 10_000 })
      await waitFor(async () => (await store.health()).ok, { what: 'health', deadlineMs: 5000 })
      writing = false
      await Promise.all(writers)
      expect([...refused]).toEqual(['store_unavailable'])
      const found = await Promise.all(
        acknowledged.map((id) => store.db.selectFrom('instances').select('id').where('id', '=', id).executeTakeFirst()),
      )
      expect(found.filter((row) => row === undefined)).toEqual([])
      expect(acknowledged.length).toBeGreaterThan(60)
    } finally {
      await store.close()
      await postgres.stop()
    }
  })
})
