// What a simulator can do to the store in memory, and what stays true under it.
import { expect, test } from 'vitest'
import { ok } from '../../src/base/result.ts'
import type { ChangeKey } from '../../src/control/model/event.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { newInstance, seedInstance, seedOrg } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'
import { MemoryDatabase } from './memory-database.ts'
import { MemoryStore } from './memory-store.ts'

const AWAY = { ok: false, error: { code: 'store_unavailable' } }
const never = new AbortController().signal

async function scene() {
  const clock = new ManualClock()
  const database = new MemoryDatabase()
  const [a, b] = [new MemoryStore({ clock, database }), new MemoryStore({ clock, database })]
  return { clock, a, b, org: await seedOrg(a) }
}

test('a failure before a write leaves nothing of it, one after the commit leaves all of it; the next call works', async () => {
  const { a, org } = await scene()
  const create = (name: string) => a.write('token:t', (tx) => tx.createInstance(newInstance(org, { name })))
  a.failNext('write', 'before')
  expect(await create('one')).toMatchObject(AWAY)
  a.failNext('token:t', 'after-commit')
  expect(await create('two')).toMatchObject(AWAY)
  expect(await create('three')).toMatchObject({ ok: true })
  const names = must(await a.read.listInstances({ scope: org, limit: 9 })).items.map((one) => one.name)
  expect(names.toSorted()).toEqual(['three', 'two'])
  expect(must(await a.read.listEvents({ scope: org, after: 0, limit: 9 })).map((event) => event.cursor)).toEqual([1, 2, 3])
})

test('a mutation whose answer was lost is repeated with its key and answered as it was made', async () => {
  const { a, org } = await scene()
  const mutation = { actor: 'token:t', action: 'createInstance', orgId: org, requestId: null, target: 'web' } as const
  const launch = () =>
    a.mutate({ ...mutation, idempotency: { scope: 's', key: 'k', requestHash: 'h' } }, async (tx) => {
      const made = await tx.createInstance(newInstance(org))
      return made.ok ? ok({ status: 202, body: { id: made.value.id } }) : made
    })
  a.failNext('write', 'after-commit')
  expect(await launch()).toMatchObject(AWAY)
  const [made] = must(await a.read.listInstances({ scope: org, limit: 9 })).items
  expect(must(await launch())).toEqual({ status: 202, body: { id: made?.id }, replayed: true })
})

test('a write that lost a race is run again, and takes effect once', async () => {
  const { a, org } = await scene()
  let runs = 0
  a.failNext('write', 'rerun')
  const { id } = must(
    await a.write('token:t', (tx) => {
      runs += 1
      return tx.createInstance(newInstance(org))
    }),
  )
  expect(runs).toBe(2)
  expect(must(await a.read.listInstances({ scope: org, limit: 9 })).items.map((one) => one.id)).toEqual([id])
  expect(must(await a.read.latestCursor())).toBe(2)
})

test('while it is down everything fails, what was under way is undone, the lease passes on; then it says: look again', async () => {
  const { clock, a, b, org } = await scene()
  const heard: (ChangeKey | null)[] = []
  a.listen((change) => heard.push(change))
  const lease = must(await a.lease('loops', never))
  const next = b.lease('loops', never)
  const underWay = a.write('token:t', async (tx) => {
    a.down(true)
    return tx.createInstance(newInstance(org))
  })
  expect(await underWay).toMatchObject(AWAY)
  expect(await a.read.allNodes()).toMatchObject(AWAY)
  expect(await a.lease('loops', never)).toMatchObject(AWAY)
  expect(lease.signal.aborted).toBe(true)
  await clock.advance(1000)
  expect(must(await next).epoch).toBe(lease.epoch + 1)
  await seedInstance(b, org)
  await clock.advance(1000)
  heard.length = 0
  a.down(false)
  await clock.advance(10)
  expect(heard).toEqual([null])
  expect(await a.write('system:loops', (tx) => tx.checkLease(lease))).toMatchObject({ ok: false, error: { code: 'lease_lost' } })
  expect(must(await a.read.listInstances({ scope: org, limit: 9 })).items).toHaveLength(1)
})

test('a failover takes the lease and nothing else', async () => {
  const { clock, a, b } = await scene()
  const lease = must(await a.lease('loops', never))
  a.loseLease()
  expect(lease.signal.aborted).toBe(true)
  expect(must(await b.lease('loops', never)).epoch).toBe(2)
  const again = a.lease('loops', never)
  await clock.advance(5000)
  b.loseLease()
  await clock.advance(1000)
  expect(must(await again).epoch).toBe(3)
})

test('notifications are late, lost or doubled as told, and latency passes on the given clock', async () => {
  const { clock, a, b, org } = await scene()
  await clock.advance(10)
  const heard: string[] = []
  b.listen((change) => heard.push(change?.kind ?? 'all'))
  b.deliveries = (change) => (change?.kind === 'event' ? [] : [100, 200])
  await seedInstance(a, org)
  await clock.advance(99)
  expect(heard).toEqual([])
  await clock.advance(1)
  expect(heard).toEqual(['instance'])
  await clock.advance(100)
  expect(heard).toEqual(['instance', 'instance'])
  a.latencyMs = 50
  let answered = false
  const reading = a.read.allNodes().then(() => {
    answered = true
  })
  await clock.advance(49)
  expect(answered).toBe(false)
  await clock.advance(1)
  expect(answered).toBe(true)
  await reading
})

test('whoever reads sees what is committed, never a write in progress', async () => {
  const { a, b, org } = await scene()
  const { promise: wrote, resolve: writeDone } = Promise.withResolvers<void>()
  const { promise: go, resolve: commit } = Promise.withResolvers<void>()
  const writing = a.write('token:t', async (tx) => {
    const made = await tx.createInstance(newInstance(org))
    expect(must(await tx.read.listInstances({ scope: org, limit: 9 })).items).toHaveLength(1)
    writeDone()
    await go
    return made
  })
  await wrote
  expect(must(await b.read.listInstances({ scope: org, limit: 9 })).items).toEqual([])
  commit()
  must(await writing)
  expect(must(await b.read.listInstances({ scope: org, limit: 9 })).items).toHaveLength(1)
})
