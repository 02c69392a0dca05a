// What lives as long as a database session: notifications and leases.
import { describe, expect, test } from 'vitest'
import { err, ok } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import type { ChangeKey } from '../../src/control/model/event.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { seedInstance, seedOrg } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'
import { waitFor } from '../support/wait.ts'

const never = new AbortController().signal

export function sessionSuite(bench: AccessBench): void {
  describe('notifications', () => {
    test('a committed change reaches every replica, a rolled back one nobody', async () => {
      const target = await bench.database()
      const [writer, reader] = [await target.store(), await target.store()]
      const org = await seedOrg(writer)
      const seen: (ChangeKey | null)[] = []
      reader.listen((change) => seen.push(change))
      await writer.write('system:test', async (tx) => {
        tx.changed({ kind: 'node', id: 'rolled-back' })
        return err(failure('wrong_state', 'on purpose'))
      })
      const { id } = await seedInstance(writer, org)
      const last = await seedInstance(writer, org)
      await waitFor(() => seen.some((change) => change?.id === last.id), { what: 'the notification', deadlineMs: 5000 })
      expect(seen).toContainEqual({ kind: 'instance', id })
      expect(seen).toContainEqual({ kind: 'event', id: '' })
      expect(seen.filter((change) => change?.kind === 'node')).toEqual([])
    })

    test('very many changes at once arrive as one "look at everything"', async () => {
      const store = await bench.store()
      const seen: (ChangeKey | null)[] = []
      store.listen((change) => seen.push(change))
      must(
        await store.write('system:test', async (tx) => {
          for (let index = 0; index < 300; index += 1) tx.changed({ kind: 'instance', id: `inst_${index}` })
          return ok(undefined)
        }),
      )
      await waitFor(() => seen.length > 0, { what: 'the notification', deadlineMs: 5000 })
      expect(seen).toEqual([null])
    })

    test('after its connection was cut a listener is told to look again, hears later changes, and one that left does not', async () => {
      const target = await bench.database()
      const store = await target.store()
      const org = await seedOrg(store)
      const [stayed, left]: (ChangeKey | null)[][] = [[], []]
      store.listen((change) => {
        stayed!.push(change)
        if (change === null) throw new Error('a listener that fails disturbs nobody')
      })
      const leave = store.listen((change) => left!.push(change))
      leave()
      await target.cut()
      await waitFor(() => stayed!.includes(null), { what: 'look again', deadlineMs: 10_000 })
      await waitFor(async () => (await store.read.latestCursor()).ok, { what: 'the pool', deadlineMs: 5000 })
      const { id } = await seedInstance(store, org)
      await waitFor(() => stayed!.some((change) => change?.id === id), { what: 'the later change', deadlineMs: 5000 })
      expect(left).toEqual([])
    })
  })

  describe('leases', () => {
    test('one holder at a time; the next one comes when it is released, with a higher epoch', async () => {
      const target = await bench.database()
      const [a, b] = [await target.store(), await target.store()]
      const first = must(await a.lease('healer', never))
      let second: Awaited<ReturnType<typeof b.lease>> | undefined
      const waiting = b.lease('healer', never).then((lease) => {
        second = lease
        return lease
      })
      const other = must(await b.lease('rollout', never))
      expect(other.epoch).toBe(1)
      expect(second).toBeUndefined()
      expect(first).toMatchObject({ epoch: 1, signal: { aborted: false } })
      await first.release()
      expect(must(await waiting)).toMatchObject({ epoch: 2 })
      expect(first.signal.aborted).toBe(true)
    })

    test('a holder that was cut off learns it, and cannot write any more once another one took over', async () => {
      const target = await bench.database()
      const [a, b] = [await target.store(), await target.store()]
      const first = must(await a.lease('healer', never))
      expect(await a.write('system:healer', (tx) => tx.checkLease(first))).toEqual(ok(undefined))
      await target.cut()
      await waitFor(() => first.signal.aborted, { what: 'the holder learns it', deadlineMs: 5000 })
      await waitFor(async () => (await b.read.latestCursor()).ok && (await a.read.latestCursor()).ok, {
        what: 'the pools',
        deadlineMs: 5000,
      })
      const second = must(await b.lease('healer', never))
      expect(second.epoch).toBe(2)
      expect(await a.write('system:healer', (tx) => tx.checkLease(first))).toMatchObject({ ok: false, error: { code: 'lease_lost' } })
      expect(await b.write('system:healer', (tx) => tx.checkLease(second))).toEqual(ok(undefined))
    })

    test('waiting ends when it is cancelled and when the store closes; a held lease ends with the store', async () => {
      const target = await bench.database()
      const [a, b] = [await target.store(), await target.store()]
      const held = must(await a.lease('healer', never))
      const cancel = new AbortController()
      const cancelled = b.lease('healer', cancel.signal)
      cancel.abort()
      expect(await cancelled).toMatchObject({ ok: false, error: { code: 'shutting_down' } })
      const closing = b.lease('healer', never)
      await b.close()
      expect(await closing).toMatchObject({ ok: false, error: { code: 'shutting_down' } })
      await a.close()
      expect(held.signal.aborted).toBe(true)
    })
  })
}
