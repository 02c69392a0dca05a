import { describe, expect, test } from 'vitest'
import { ok } from '../../src/base/result.ts'
import { systemClock } from '../../src/base/system.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import { type Hello, SESSION_LIVE_MS } from '../../src/control/store/session-fold.ts'
import { factsOf, nodeId as idOf, USAGE } from '../support/control-records.ts'
import { ManualClock } from '../support/manual-clock.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { observedOf, seedNode, seedOrg, seedPlaced, transitionOf } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'
import { waitFor } from '../support/wait.ts'

const helloOf = (store: StoreAccess, given: Partial<Hello> = {}): Hello => ({
  nodeId: idOf('node-a'),
  bootId: 'boot-1',
  facts: factsOf(),
  usage: USAGE,
  replica: store.replica,
  ...given,
})
const open = (store: StoreAccess, given: Partial<Hello> = {}) => store.write('system:link', (tx) => tx.openSession(helloOf(store, given)))
const TAKEN = { ok: false, error: { code: 'node_id_taken', fields: { node_id: 'node-a' } } }

export function nodeSuite(bench: AccessBench): void {
  describe('agent sessions', () => {
    test('a second live agent with the same id is refused by name; the first one saying hello again is not', async () => {
      const store = await bench.store()
      expect(must(await open(store))).toEqual({ epoch: 1 })
      expect(await open(store, { bootId: 'boot-2' })).toMatchObject(TAKEN)
      expect(must(await open(store))).toEqual({ epoch: 2 })
    })

    test('of two agents that say their first hello at once, one gets the id', async () => {
      const store = await bench.store()
      const results = await Promise.all(['boot-1', 'boot-2', 'boot-3'].map((bootId) => open(store, { bootId })))
      expect(results.filter((result) => result.ok)).toHaveLength(1)
      expect(results.filter((result) => !result.ok)).toMatchObject([TAKEN, TAKEN])
    })

    test('what may run under one agent is not handed to another that was given its node id, also when the first is away', async () => {
      const store = await bench.store()
      const nodeId = idOf('node-a')
      const { epoch } = must(await open(store, { bootId: 'state1.boot1' }))
      const placed = await seedPlaced(store, await seedOrg(store), nodeId)
      must(await store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, [observedOf(placed.id)])))
      must(await store.write('system:link', (tx) => tx.closeSession(nodeId, epoch)))
      expect(await open(store, { bootId: 'state2.boot1' })).toMatchObject(TAKEN)
      const again = must(await open(store, { bootId: 'state1.boot2' }))
      must(await store.write('system:link', (tx) => tx.closeSession(nodeId, again.epoch)))
      expect(must(await store.write('system:nodes', (tx) => tx.markLost(nodeId)))).toEqual([placed.id])
      must(await open(store, { bootId: 'state2.boot1' }))
    })

    test('the id is free when its session was closed, and when it has been silent for too long', async () => {
      const clock = new ManualClock()
      const store = await bench.store({ clock })
      const { epoch } = must(await open(store))
      must(await store.write('system:link', (tx) => tx.closeSession(idOf('node-a'), epoch)))
      must(await open(store, { bootId: 'boot-2' }))
      await clock.advance(SESSION_LIVE_MS - 1)
      expect(await open(store, { bootId: 'boot-3' })).toMatchObject(TAKEN)
      await clock.advance(1)
      must(await open(store, { bootId: 'boot-3' }))
    })

    test('a session held by a replica that died does not lock its node out', async () => {
      const target = await bench.database()
      const first = await target.store()
      must(await open(first))
      const second = await target.store()
      expect(await open(second, { bootId: 'boot-2' })).toMatchObject(TAKEN)
      await first.close()
      await waitFor(async () => (await open(second, { bootId: 'boot-2' })).ok, {
        what: 'the dead replica no longer counts',
        deadlineMs: 5000,
      })
    })

    test('what was still queued of a closed session can neither open it again nor be stored', async () => {
      const store = await bench.store()
      const nodeId = idOf('node-a')
      const { epoch } = must(await open(store))
      must(await store.write('system:link', (tx) => tx.closeSession(nodeId, epoch)))
      expect(must(await store.recordHeartbeats(systemClock.wallMs(), [{ nodeId, epoch, usage: USAGE, facts: null }]))).toEqual([])
      expect(must(await store.read.findNode('node-a')).connected).toBe(false)
    })

    test('closing an old session leaves the newer one open', async () => {
      const store = await bench.store()
      const { epoch } = must(await open(store))
      must(await open(store))
      must(await store.write('system:link', (tx) => tx.closeSession(idOf('node-a'), epoch)))
      expect(must(await store.read.findNode('node-a')).connected).toBe(true)
    })

    test('heartbeats of many nodes in one statement: newest sessions only, facts only when given', async () => {
      const store = await bench.store()
      const [a, b] = [await seedNode(store, 'node-a'), await seedNode(store, 'node-b')]
      const beats = [
        { ...a, usage: { ...USAGE, cpuRatio: 0.5 }, facts: null },
        { ...b, usage: USAGE, facts: factsOf({ cores: 64 }) },
        { nodeId: idOf('node-c'), epoch: 1, usage: USAGE, facts: null },
      ]
      expect(must(await store.recordHeartbeats(12_345, beats)).toSorted()).toEqual(['node-a', 'node-b'])
      expect(must(await store.recordHeartbeats(99_999, [{ ...a, epoch: a.epoch + 1, usage: USAGE, facts: null }]))).toEqual([])
      const [first, second] = must(await store.read.allNodes())
      expect(first).toMatchObject({ lastSeenAtMs: 12_345, usage: { cpuRatio: 0.5 }, facts: factsOf() })
      expect(second).toMatchObject({ lastSeenAtMs: 12_345, facts: { cores: 64 } })
    })

    test('silent sessions and those of dead replicas expire, with an event; a later heartbeat brings a live one back', async () => {
      const clock = new ManualClock()
      const target = await bench.database()
      const store = await target.store({ clock })
      const dying = await target.store({ clock })
      const silent = await seedNode(store, 'node-silent')
      await clock.advance(SESSION_LIVE_MS)
      const live = await seedNode(store, 'node-live')
      await seedNode(dying, 'node-orphan')
      const expire = async () => must(await store.write('system:nodes', (tx) => tx.expireSessions()))
      expect(await expire()).toEqual(['node-silent'])
      await dying.close()
      await waitFor(async () => (await expire()).includes(idOf('node-orphan')), { what: 'the orphan expires', deadlineMs: 5000 })
      expect(
        must(await store.read.allNodes())
          .filter((node) => node.connected)
          .map((node) => node.id),
      ).toEqual([live.nodeId])
      const events = must(await store.read.listEvents({ scope: null, after: 0, limit: 50 })).filter(
        (event) => event.type === 'node.disconnected',
      )
      expect(events.map((event) => [event.nodeId, event.data.cause])).toEqual([
        ['node-silent', 'silent'],
        ['node-orphan', 'replica_gone'],
      ])
      must(await store.recordHeartbeats(clock.wallMs(), [{ ...silent, usage: USAGE, facts: null }]))
      expect(must(await store.read.findNode('node-silent')).connected).toBe(true)
    })
  })

  describe('nodes', () => {
    test('the ledger counts what runs or shall run, and nothing else', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId, epoch } = await seedNode(store)
      await seedPlaced(store, org, nodeId)
      const second = await seedPlaced(store, org, nodeId)
      const mebibytes = async () => (must(await store.read.allNodes())[0]?.reservedMemoryBytes ?? 0) / 2 ** 20
      expect(await mebibytes()).toBe(128)
      const wish = async (want: 'running' | 'stopped') =>
        must(await store.write('token:t', (tx) => tx.changeDesired(second.id, () => ok({ verb: 'wish', want }))))
      must(await store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, [observedOf(second.id)])))
      await wish('stopped')
      // Still running until it has stopped.
      expect(await mebibytes()).toBe(128)
      const stopped = { kind: 'stopped' as const, reason: 'requested' as const, sinceMs: 0, attempt: 0, lastError: null, exit: null }
      const step = observedOf(second.id, { phase: stopped, transitions: [transitionOf(1, 'running', 'stopped', { to: stopped })] })
      must(await store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, [step])))
      expect(await mebibytes()).toBe(64)
      await wish('running')
      expect(await mebibytes()).toBe(128)
      expect(must(await store.read.allNodes())[0]?.instances).toBe(2)
    })

    test('nodes are found by unique prefix, and cordoned once', async () => {
      const store = await bench.store()
      for (const name of ['web-1', 'web-2', 'db.local']) await seedNode(store, name)
      expect(must(await store.read.findNode('db')).id).toBe('db.local')
      expect(await store.read.findNode('web')).toMatchObject({ ok: false, error: { code: 'ambiguous_id' } })
      expect(await store.read.findNode('x%')).toMatchObject({ ok: false, error: { code: 'not_found' } })
      const cordon = (cordoned: boolean) => store.write('token:t', (tx) => tx.setCordon(idOf('web-1'), cordoned))
      expect(must(await cordon(true)).cordoned).toBe(true)
      expect(must(await cordon(true)).cordoned).toBe(true)
      expect(must(await cordon(false)).cordoned).toBe(false)
      const types = must(await store.read.listEvents({ scope: null, after: 3, limit: 9 })).map((event) => event.type)
      expect(types).toEqual(['node.cordoned', 'node.uncordoned'])
    })
  })
}
