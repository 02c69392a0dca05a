import { describe, expect, test } from 'vitest'
import { ok } from '../../src/base/result.ts'
import { nodeId as idOf, SLEEPER, specOf } from '../support/control-records.ts'
import type { AccessBench } from '../support/store-bench.ts'
import { observedOf, seedInstance, seedNode, seedOrg, seedPlaced, transitionOf } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'

const MI = 2 ** 20

export function placementSuite(bench: AccessBench): void {
  describe('placement', () => {
    test('twenty schedulers at once never reserve more memory than a node has', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId } = await seedNode(store, 'node-a', { allocatableMemoryBytes: 5 * 64 * MI + 1 })
      const made = []
      for (let count = 0; count < 20; count += 1) made.push(await seedInstance(store, org))
      const results = await Promise.all(made.map((one) => store.write('system:scheduler', (tx) => tx.placeInstance(one.id, nodeId))))
      expect(results.filter((result) => result.ok)).toHaveLength(5)
      expect(must(await store.read.allNodes())[0]).toMatchObject({ reservedMemoryBytes: 5 * 64 * MI, instances: 5 })
      const refused = results.find((result) => !result.ok)
      expect(refused).toMatchObject({ error: { code: 'node_full', fields: { dimension: 'memory', requested: 64 * MI, available: 1 } } })
    })

    test('two schedulers with different nodes place an instance once', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const nodes = [await seedNode(store, 'node-a'), await seedNode(store, 'node-b')]
      const { id } = await seedInstance(store, org)
      const results = (
        await Promise.all(nodes.map(({ nodeId }) => store.write('system:scheduler', (tx) => tx.placeInstance(id, nodeId))))
      ).map(must)
      const placed = results.filter((result) => result !== null)
      expect(placed).toHaveLength(1)
      expect(must(await store.read.getInstance(id))).toEqual(placed[0])
      expect(placed[0]).toMatchObject({ generation: 2, phase: { kind: 'placed' }, refusals: [] })
    })

    test('what was stopped or deleted meanwhile is not placed; a node that is gone is not found', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId } = await seedNode(store)
      const [stopped, deleted, wanted] = [await seedInstance(store, org), await seedInstance(store, org), await seedInstance(store, org)]
      must(await store.write('token:t', (tx) => tx.changeDesired(stopped.id, () => ok({ verb: 'stop', want: 'stopped' }))))
      must(await store.write('token:t', (tx) => tx.changeDesired(deleted.id, () => ok({ verb: 'delete', want: 'deleted' }))))
      expect(must(await store.read.listUnplaced(9)).map((one) => one.id)).toEqual([wanted.id])
      expect(must(await store.read.listUnplaced(9, undefined, [stopped.id, wanted.id])).map((one) => one.id)).toEqual([wanted.id])
      expect(must(await store.read.listUnplaced(9, undefined, [stopped.id]))).toEqual([])
      for (const { id } of [stopped, deleted])
        expect(must(await store.write('system:scheduler', (tx) => tx.placeInstance(id, nodeId)))).toBeNull()
      expect(await store.write('system:scheduler', (tx) => tx.placeInstance(wanted.id, idOf('nowhere')))).toMatchObject({
        ok: false,
        error: { code: 'not_found' },
      })
    })

    test('a refusal is told once, with each node and rule, and again only when it changes', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId } = await seedNode(store)
      const { id } = await seedInstance(store, org)
      const refuse = (refusedBy: string, detail: string) =>
        store.write('system:scheduler', (tx) =>
          tx.refuseInstance(id, [{ nodeId, refusedBy, detail }], { code: 'no_node', detail: 'none', atMs: 1 }),
        )
      must(await refuse('memory', '1 byte short'))
      must(await refuse('memory', '2 bytes short'))
      must(await refuse('cordoned', 'cordoned'))
      const now = must(await store.read.getInstance(id))
      expect(now).toMatchObject({
        phase: { kind: 'pending', reason: 'no_node', lastError: { code: 'no_node' } },
        refusals: [{ nodeId, refusedBy: 'cordoned' }],
      })
      const events = must(await store.read.listEvents({ scope: org, after: 0, limit: 9, instanceId: id })).filter(
        (event) => event.type === 'instance.refused',
      )
      expect(events.map((event) => event.data.nodes)).toMatchObject([[{ refused_by: 'memory' }], [{ refused_by: 'cordoned' }]])
      expect(must(await store.read.listUnplaced(9)).map((one) => one.id)).toEqual([id])
      expect(must(must(await store.write('system:scheduler', async (tx) => ok(await tx.placeInstance(id, nodeId)))))).toMatchObject({
        refusals: [],
        phase: { kind: 'placed' },
      })
    })

    test('the desired set of a node is whole: also what is to be stopped or deleted, until it is gone', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const [a, b] = [await seedNode(store, 'node-a'), await seedNode(store, 'node-b')]
      const first = await seedPlaced(store, org, a.nodeId, { labels: { app: 'web' }, spec: specOf({ ...SLEEPER, env: { A: '1' } }) })
      const second = await seedPlaced(store, org, a.nodeId)
      const third = await seedPlaced(store, org, b.nodeId)
      must(await store.write('token:t', (tx) => tx.changeDesired(second.id, () => ok({ verb: 'delete', want: 'deleted' }))))
      must(
        await store.write('system:link', (tx) =>
          tx.recordObserved(a.nodeId, a.epoch, [observedOf(first.id, { transitions: [transitionOf(3, 'placed', 'running')] })]),
        ),
      )
      const set = must(await store.read.desiredOfNode(a.nodeId)).toSorted((left, right) => right.seq - left.seq)
      expect(set).toMatchObject([
        {
          seq: 3,
          desired: { id: first.id, orgId: org, want: 'running', generation: 2, labels: { app: 'web' }, spec: first.spec, healSeq: 0 },
        },
        { seq: 0, desired: { id: second.id, want: 'deleted', generation: 3 } },
      ])
      const byId = must(await store.read.desiredByIds([first.id, third.id]))
      expect(byId.map((one) => one.nodeId).toSorted()).toEqual(['node-a', 'node-b'])
      expect(must(await store.read.desiredByIds([]))).toEqual([])
    })

    test('only what was alive on a disconnected node is lost', async () => {
      const store = await bench.store()
      const org = await seedOrg(store)
      const { nodeId, epoch } = await seedNode(store)
      const [running, failed] = [await seedPlaced(store, org, nodeId), await seedPlaced(store, org, nodeId)]
      const items = [observedOf(running.id), observedOf(failed.id, { phase: transitionOf(1, null, 'failed').to })]
      must(await store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, items)))
      const mark = async () => must(await store.write('system:nodes', (tx) => tx.markLost(nodeId)))
      expect(await mark()).toEqual([])
      must(await store.write('system:link', (tx) => tx.closeSession(nodeId, epoch)))
      expect(await mark()).toEqual([running.id])
      expect(await mark()).toEqual([])
      expect(must(await store.read.getInstance(failed.id))?.phase.kind).toBe('failed')
    })
  })
}
