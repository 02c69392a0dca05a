import { describe, expect, test } from 'vitest'
import { ok } from '../../src/base/result.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import type { Observed } from '../../src/contracts/agent-protocol.ts'
import { type NodeId, newId } from '../../src/contracts/ids.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import { phaseOf } from '../support/control-records.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { observedOf, seedNode, seedOrg, seedPlaced, transitionOf } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const record = (store: StoreAccess, nodeId: NodeId, epoch: number, items: readonly Observed[]) =>
  store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, items))

async function scene(store: StoreAccess) {
  const org = await seedOrg(store)
  const { nodeId, epoch } = await seedNode(store)
  const placed = await seedPlaced(store, org, nodeId, { name: 'web' })
  const events = async () =>
    must(await store.read.listEvents({ scope: org, after: 0, limit: 200, instanceId: placed.id })).filter(
      (event) => event.type === 'instance.state_changed',
    )
  return { org, nodeId, epoch, id: placed.id, events }
}

export function observedSuite(bench: AccessBench): void {
  describe('observations', () => {
    test('a batch sent twice, and twice at once, is stored once: one history step and one event per transition', async () => {
      const store = await bench.store()
      const { nodeId, epoch, id, events } = await scene(store)
      const exit = { code: 1, signal: null, oom: false, atMs: 5 }
      const item = observedOf(id, {
        transitions: [
          transitionOf(1, 'placed', 'starting'),
          transitionOf(2, 'starting', 'running'),
          transitionOf(3, 'running', 'recovering', { exit }),
          transitionOf(4, 'recovering', 'running', { incarnation: 2 }),
        ],
        incarnation: 2,
      })
      const acks = await Promise.all([record(store, nodeId, epoch, [item]), record(store, nodeId, epoch, [item])])
      expect(acks).toEqual([ok([{ id, seq: 4 }]), ok([{ id, seq: 4 }])])
      expect(must(await record(store, nodeId, epoch, [item]))).toEqual([{ id, seq: 4 }])
      const now = must(await store.read.getInstance(id))
      expect(now).toMatchObject({
        phase: { kind: 'running' },
        incarnation: 2,
        observedGeneration: 2,
        lastTransitionSeq: 4,
        observed: { health: 'healthy', pid: 42 },
      })
      const history = must(await store.read.listTransitions(id))
      expect(history.map((step) => [step.seq, step.to.kind])).toEqual([
        [1, 'placed'],
        [2, 'starting'],
        [3, 'running'],
        [4, 'recovering'],
        [5, 'running'],
      ])
      expect(history[3]?.exit).toEqual(exit)
      expect((await events()).map((event) => [event.data.from, event.data.to])).toEqual([
        ['pending', 'placed'],
        ['placed', 'starting'],
        ['starting', 'running'],
        ['running', 'recovering'],
        ['recovering', 'running'],
      ])
    })

    test('one instance twice in one batch folds in order', async () => {
      const store = await bench.store()
      const { nodeId, epoch, id } = await scene(store)
      const items = [
        observedOf(id, { phase: phaseOf('starting'), transitions: [transitionOf(1, 'placed', 'starting')] }),
        observedOf(id, { transitions: [transitionOf(1, 'placed', 'starting'), transitionOf(2, 'starting', 'running')] }),
      ]
      expect(must(await record(store, nodeId, epoch, items))).toEqual([
        { id, seq: 1 },
        { id, seq: 2 },
      ])
      expect(must(await store.read.listTransitions(id)).map((step) => step.to.kind)).toEqual(['placed', 'starting', 'running'])
      expect(must(await store.read.getInstance(id))?.phase.kind).toBe('running')
    })

    test('a session that was replaced can write nothing any more', async () => {
      const store = await bench.store()
      const { nodeId, epoch, id } = await scene(store)
      const node = must(await store.read.allNodes())[0]
      const hello = { nodeId, bootId: 'boot-node-a', facts: node!.facts, usage: node!.usage, replica: store.replica }
      must(await store.write('system:link', (tx) => tx.openSession(hello)))
      expect(await record(store, nodeId, epoch, [observedOf(id)])).toMatchObject({ ok: false, error: { code: 'node_id_taken' } })
      expect(must(await store.read.getInstance(id))?.phase.kind).toBe('placed')
    })

    test('observations of unknown, moved and gone instances are acknowledged and change nothing', async () => {
      const store = await bench.store()
      const { org, nodeId, epoch, id } = await scene(store)
      const other = await seedNode(store, 'node-b')
      const elsewhere = await seedPlaced(store, org, other.nodeId)
      const unknown = newId.instance(systemClock, systemRandom)
      const items = [unknown, elsewhere.id].map((one) =>
        observedOf(one, { phase: phaseOf('failed'), transitions: [transitionOf(3, 'running', 'failed')] }),
      )
      expect(must(await record(store, nodeId, epoch, items))).toEqual(items.map((item) => ({ id: item.id, seq: 3 })))
      expect(must(await store.read.getInstance(elsewhere.id))).toEqual(elsewhere)
      expect(must(await store.read.getInstance(id))?.phase.kind).toBe('placed')
    })

    test('a deletion is complete when the agent says so: the name is free, memory is given back, the row stays as evidence', async () => {
      const store = await bench.store()
      const { org, nodeId, epoch, id } = await scene(store)
      must(await record(store, nodeId, epoch, [observedOf(id)]))
      must(await store.write('token:t', (tx) => tx.changeDesired(id, () => ok({ verb: 'delete', want: 'deleted' }))))
      expect(must(await store.read.findInstance('web', org)).id).toBe(id)
      const gone = observedOf(id, {
        generation: 3,
        phase: phaseOf('deleted'),
        pid: null,
        transitions: [transitionOf(1, 'running', 'stopping'), transitionOf(2, 'stopping', 'deleted')],
      })
      expect(must(await record(store, nodeId, epoch, [gone]))).toEqual([{ id, seq: 2 }])
      expect(await store.read.findInstance('web', org)).toMatchObject({ ok: false })
      expect(must(await store.read.getInstance(id))?.deletedAtMs).not.toBeNull()
      expect(must(await store.read.allNodes())[0]).toMatchObject({ reservedMemoryBytes: 0, instances: 0 })
      expect(must(await record(store, nodeId, epoch, [gone]))).toEqual([{ id, seq: 2 }])
      expect(
        must(await store.read.listEvents({ scope: org, after: 0, limit: 99, instanceId: id })).filter(
          (event) => event.type === 'instance.deleted',
        ),
      ).toHaveLength(1)
    })

    test('the history keeps the last 200 steps, numbered on', async () => {
      const store = await bench.store()
      const { nodeId, epoch, id } = await scene(store)
      const kinds = ['running', 'recovering'] as const
      const transitions = Array.from({ length: 230 }, (_, index) => transitionOf(index + 1, kinds[(index + 1) % 2]!, kinds[index % 2]!))
      must(await record(store, nodeId, epoch, [observedOf(id, { transitions: transitions.slice(0, 120), phase: phaseOf('running') })]))
      must(await record(store, nodeId, epoch, [observedOf(id, { transitions, phase: transitions.at(-1)!.to })]))
      const history = must(await store.read.listTransitions(id))
      expect(history).toHaveLength(200)
      expect(history.at(-1)?.seq).toBe(232)
      expect(history[0]?.seq).toBe(33)
    })

    test('an instance that was lost and is reported alive is running again, and its spent heal is forgotten', async () => {
      const store = await bench.store()
      const { org, nodeId, epoch, id, events } = await scene(store)
      must(await record(store, nodeId, epoch, [observedOf(id)]))
      must(await store.write('system:link', (tx) => tx.closeSession(nodeId, epoch)))
      expect(must(await store.write('system:nodes', (tx) => tx.markLost(nodeId)))).toEqual([id])
      expect(must(await store.read.getInstance(id))).toMatchObject({ phase: { kind: 'lost', reason: 'node_lost' } })
      must(
        await store.write('system:healer', (tx) =>
          tx.scheduleHeal({ instanceId: id, orgId: org, generation: 2, dueAtMs: 0, reason: 'node_lost' }),
        ),
      )
      const [held] = must(await store.claimHeals({ nowMs: 1, leaseMs: 1000, lease: 'lease', limit: 1 }))
      const spent = { dueAtMs: 0, attempts: 5, generation: 2, givenUp: true, lastError: null }
      expect(must(await store.write('system:healer', (tx) => tx.postponeHeal(held!, spent)))).toBe(true)
      const again = await seedNode(store)
      must(await record(store, nodeId, again.epoch, [observedOf(id)]))
      expect(must(await store.read.getInstance(id))?.phase.kind).toBe('running')
      expect((await events()).map((event) => event.data.to)).toEqual(['placed', 'running', 'lost', 'running'])
      expect(must(await store.read.getHeal(id))).toBeNull()
    })

    test('an instance moved to another node starts its numbering anew, and its history goes on', async () => {
      const store = await bench.store()
      const { nodeId, epoch, id } = await scene(store)
      must(await record(store, nodeId, epoch, [observedOf(id, { incarnation: 7, transitions: [transitionOf(9, 'placed', 'running')] })]))
      const other = await seedNode(store, 'node-b')
      must(await store.write('system:healer', (tx) => tx.changeDesired(id, () => ok({ verb: 'heal', unplace: true }))))
      must(await store.write('system:scheduler', (tx) => tx.placeInstance(id, other.nodeId)))
      must(
        await record(store, other.nodeId, other.epoch, [
          observedOf(id, { generation: 4, incarnation: 1, transitions: [transitionOf(1, 'placed', 'running')] }),
        ]),
      )
      expect(must(await store.read.getInstance(id))).toMatchObject({
        nodeId: 'node-b',
        incarnation: 1,
        generation: 4,
        observedGeneration: 4,
        phase: { kind: 'running' },
      })
      expect(must(await store.read.listTransitions(id)).map((step) => step.to.kind)).toEqual([
        'placed',
        'running',
        'pending',
        'placed',
        'running',
      ])
      // The old node may come back and still report it.
      must(await record(store, nodeId, epoch, [observedOf(id, { phase: phaseOf('failed') })]))
      expect(must(await store.read.getInstance(id))?.phase.kind).toBe('running')
    })

    test('output with NUL bytes in an error detail is stored, not refused', async () => {
      const store = await bench.store()
      const { nodeId, epoch, id } = await scene(store)
      const phase = phaseOf('failed', { lastError: { code: 'start_failed', detail: 'a\0b', atMs: 1 } })
      must(await record(store, nodeId, epoch, [observedOf(id, { phase, notes: ['\ud800'] })]))
      expect(must(await store.read.getInstance(id))).toMatchObject({
        phase: { lastError: { detail: 'a\ufffdb' } },
        observed: { notes: ['\ufffd'] },
      })
    })
  })
}
