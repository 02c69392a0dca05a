import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { newId } from '../../contracts/ids.ts'
import { listEvents } from './events.ts'
import {
  bootstrap,
  createOrg,
  createToken,
  findOrg,
  findTokenByHash,
  listOrgs,
  listTokens,
  type NewToken,
  revokeToken,
  touchToken,
} from './orgs.ts'

const hashOf = (secret: string) => createHash('sha256').update(secret).digest()
const tokenOf = (given: Partial<NewToken> = {}): NewToken => ({
  id: newId.token(systemClock, systemRandom),
  name: 'ci',
  orgId: null,
  role: 'operator',
  hash: hashOf('secret'),
  ...given,
})

const PLAIN = { ownId: null, force: false }

describeStores('organisations and tokens', (bench) => {
  test('a token is found by the hash of its secret and by nothing else, until it is revoked', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const token = must(await store.write('token:t', (tx) => createToken(tx, tokenOf({ orgId: org, role: 'viewer' }))))
    expect(must(await findTokenByHash(store.db, hashOf('secret')))).toEqual(token)
    expect(must(await findTokenByHash(store.db, hashOf('other')))).toBeNull()
    expect(await store.write('token:t', (tx) => revokeToken(tx, 'ci', newId.org(systemClock, systemRandom), PLAIN))).toMatchObject({
      ok: false,
      error: { code: 'not_found' },
    })
    must(await store.write('token:t', (tx) => revokeToken(tx, 'ci', org, PLAIN)))
    expect(must(await findTokenByHash(store.db, hashOf('secret')))).toBeNull()
    const types = must(await listEvents(store.db, { scope: org, after: 1, limit: 9 })).map((event) => event.type)
    expect(types).toEqual(['token.created', 'token.revoked'])
  })

  test('token names are unique per organisation; an ambiguous name has to be an id', async () => {
    const store = await bench.store()
    const org = await seedOrg(store)
    const create = (given: Partial<NewToken>) => store.write('token:t', (tx) => createToken(tx, tokenOf(given)))
    must(await create({ orgId: org }))
    expect(await create({ orgId: org, hash: hashOf('2') })).toMatchObject({ ok: false, error: { code: 'name_taken' } })
    const platform = must(await create({ hash: hashOf('3') }))
    expect(await create({ hash: hashOf('4') })).toMatchObject({ ok: false, error: { code: 'name_taken' } })
    expect(await store.write('token:t', (tx) => revokeToken(tx, 'ci', null, PLAIN))).toMatchObject({
      ok: false,
      error: { code: 'ambiguous_id' },
    })
    expect(must(await listTokens(store.db, { scope: org, limit: 9 })).items).toHaveLength(1)
    expect(must(await listTokens(store.db, { scope: null, limit: 9 })).items).toHaveLength(2)
    must(await store.write('token:t', (tx) => revokeToken(tx, platform.id, null, { ...PLAIN, force: true })))
  })

  test('the token that asks and the last operator of the platform are revoked only by force; of two who revoke each other one is left', async () => {
    const store = await bench.store()
    const [a, b] = ['a', 'b'].map((name) => tokenOf({ name, hash: hashOf(name) }))
    if (!a || !b) throw new Error('two tokens')
    for (const token of [a, b]) must(await store.write('token:t', (tx) => createToken(tx, token)))
    // Operators of one organisation and viewers do not count: they cannot make a token for the platform.
    must(await store.write('token:t', async (tx) => createToken(tx, tokenOf({ name: 'eyes', role: 'viewer', hash: hashOf('eyes') }))))
    must(
      await store.write('token:t', async (tx) =>
        createToken(tx, tokenOf({ name: 'theirs', orgId: await seedOrg(store), hash: hashOf('o') })),
      ),
    )
    const revoke = (ref: string, ownId: NewToken['id'] | null, force = false) =>
      store.write('token:t', (tx) => revokeToken(tx, ref, null, { ownId, force }))
    expect(await revoke('a', a.id)).toMatchObject({ ok: false, error: { code: 'lockout', fields: { name: 'a', own: true, last: false } } })
    const both = await Promise.all([revoke('a', b.id), revoke('b', a.id)])
    expect(both.filter((each) => each.ok)).toHaveLength(1)
    expect(both.find((each) => !each.ok)).toMatchObject({ error: { code: 'lockout', fields: { own: false, last: true } } })
    const left = must(await listTokens(store.db, { scope: null, limit: 9 })).items.filter(({ name }) => name === 'a' || name === 'b')
    must(await revoke(left[0]?.name ?? '', left[0]?.id ?? null, true))
  })

  test('the use of a token is noted at most once a minute', async () => {
    const store = await bench.store()
    const { id } = must(await store.write('token:t', (tx) => createToken(tx, tokenOf())))
    const touched = async (nowMs: number) => {
      must(await touchToken(store.db, id, nowMs))
      return must(await findTokenByHash(store.db, hashOf('secret')))?.lastUsedAtMs
    }
    expect(await touched(1_000_000)).toBe(1_000_000)
    expect(await touched(1_060_000)).toBe(1_000_000)
    expect(await touched(1_060_001)).toBe(1_060_001)
  })

  test('bootstrap by three replicas at once makes one organisation and one token; a new secret replaces the old one', async () => {
    const store = await bench.store()
    const boot = (secret: string) =>
      store.write('system:bootstrap', (tx) =>
        bootstrap(tx, { orgId: newId.org(systemClock, systemRandom), tokens: [tokenOf({ name: 'operator', hash: hashOf(secret) })] }),
      )
    const orgs = (await Promise.all([boot('one'), boot('one'), boot('one')])).map(must)
    expect(new Set(orgs.map((org) => org.id)).size).toBe(1)
    expect(must(await listTokens(store.db, { scope: null, limit: 9 })).items).toHaveLength(1)
    const before = must(await listEvents(store.db, { scope: null, after: 0, limit: 9 })).length
    must(await boot('one'))
    expect(must(await listEvents(store.db, { scope: null, after: 0, limit: 9 }))).toHaveLength(before)
    must(await boot('two'))
    expect(must(await findTokenByHash(store.db, hashOf('one')))).toBeNull()
    expect(must(await findTokenByHash(store.db, hashOf('two')))).toMatchObject({ name: 'operator', role: 'operator' })
  })

  test('organisations are found by id and name, listed by age, and hidden from the others', async () => {
    const store = await bench.store()
    const [one, two] = [await seedOrg(store, 'one'), await seedOrg(store, 'two')]
    expect(must(await findOrg(store.db, 'two', null)).id).toBe(two)
    expect(must(await findOrg(store.db, one, one)).name).toBe('one')
    expect(await findOrg(store.db, 'two', one)).toMatchObject({ ok: false, error: { code: 'not_found' } })
    const first = must(await listOrgs(store.db, { scope: null, limit: 1 }))
    expect(must(await listOrgs(store.db, { scope: null, limit: 1, cursor: first.nextCursor ?? '' }))).toMatchObject({ nextCursor: null })
    expect(must(await listOrgs(store.db, { scope: two, limit: 9 })).items.map((org) => org.name)).toEqual(['two'])
    const again = await store.write('token:t', (tx) => createOrg(tx, { id: newId.org(systemClock, systemRandom), name: 'one' }))
    expect(again).toMatchObject({ ok: false, error: { code: 'name_taken' } })
  })
})
