import fc from 'fast-check'
import { assert, describe, expect, test } from 'vitest'
import { instanceId, instanceOf, membershipOf, nodeId, nodeOf, phaseOf } from '../../../tests/support/control-records.ts'
import { type Ask, askOf, loadsOf, type NodeLoad } from './ask.ts'
import { FILTERS } from './filters.ts'
import { place, REFUSALS_MAX, withPlaced } from './place.ts'

const MEBIBYTE = 2 ** 20
const ask = (given: Partial<Ask> = {}): Ask => ({
  runtime: 'fake',
  memoryBytes: 512 * MEBIBYTE,
  cpuMillis: 1000,
  nodeSelector: {},
  group: null,
  ...given,
})
const loads = (...nodes: Parameters<typeof nodeOf>[]): readonly NodeLoad[] =>
  loadsOf(
    nodes.map((node) => nodeOf(...node)),
    [],
    0,
  )

const nodeArb = fc.record({
  allocatableMiB: fc.integer({ min: 0, max: 4096 }),
  allocatableCpuMillis: fc.constantFrom(0, 4000, 16_000),
  reservedMiB: fc.integer({ min: 0, max: 2048 }),
  cordoned: fc.boolean(),
  connected: fc.boolean(),
  usable: fc.boolean(),
  zone: fc.constantFrom('a', 'b'),
  pressure: fc.constantFrom([] as const, ['cpu'] as const),
})
const loadsArb = fc.array(nodeArb, { maxLength: 6 }).map((nodes) =>
  loads(
    ...nodes.map(
      (node, index): Parameters<typeof nodeOf> => [
        `node-${index}`,
        {
          cordoned: node.cordoned,
          connected: node.connected,
          // A node may come up with less than is already promised on it; then it takes nothing.
          reservedMemoryBytes: node.reservedMiB * MEBIBYTE,
          facts: {
            allocatableMemoryBytes: node.allocatableMiB * MEBIBYTE,
            allocatableCpuMillis: node.allocatableCpuMillis,
            labels: { zone: node.zone },
            runtimes: [{ runtime: 'fake', usable: node.usable, version: null, detail: 'broken', fix: null, limits: 'none' }],
          },
          usage: { pressure: [...node.pressure] },
        },
      ],
    ),
  ),
)
const askArb = fc.record({
  runtime: fc.constantFrom('fake' as const, 'fake' as const, 'docker' as const),
  memoryBytes: fc.integer({ min: 4, max: 1024 }).map((mebibytes) => mebibytes * MEBIBYTE),
  cpuMillis: fc.integer({ min: 1, max: 8000 }),
  nodeSelector: fc.constantFrom<Record<string, string>>({}, {}, { zone: 'a' }),
  group: fc.constantFrom(null, 'env/web', 'env/db'),
})

describe('properties of every placement', () => {
  test('memory is never promised twice, whatever comes and goes in whatever order', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('ask' as const), ask: askArb }),
      fc.record({ kind: fc.constant('free' as const), index: fc.nat() }),
    )
    fc.assert(
      fc.property(loadsArb, fc.array(step, { maxLength: 40 }), (start, steps) => {
        let now = start
        const held: { node: string; bytes: number }[] = []
        for (const given of steps) {
          if (given.kind === 'free') {
            const [gone] = held.length > 0 ? held.splice(given.index % held.length, 1) : []
            now = now.map((load) =>
              gone && load.node.id === gone.node ? { ...load, reservedMemoryBytes: load.reservedMemoryBytes - gone.bytes } : load,
            )
            continue
          }
          const placement = place(given.ask, now)
          if (placement.kind === 'refused') continue
          held.push({ node: placement.nodeId, bytes: given.ask.memoryBytes })
          now = withPlaced(now, placement.nodeId, given.ask)
          const load = now.find((each) => each.node.id === placement.nodeId)!
          const mine = held.filter((each) => each.node === placement.nodeId).reduce((sum, each) => sum + each.bytes, 0)
          assert(load.node.reservedMemoryBytes + mine <= load.node.facts.allocatableMemoryBytes, 'oversubscribed')
        }
      }),
    )
  })

  test('a placed instance breaks no rule of its node', () => {
    fc.assert(
      fc.property(loadsArb, askArb, (given, wanted) => {
        const placement = place(wanted, given)
        if (placement.kind === 'refused') return
        const load = given.find((each) => each.node.id === placement.nodeId)!
        assert.deepEqual(
          FILTERS.filter((filter) => !filter.fits(load, wanted)).map((filter) => filter.name),
          [],
        )
      }),
    )
  })

  test('a refusal explains every node, and the summary counts them', () => {
    fc.assert(
      fc.property(loadsArb, askArb, (given, wanted) => {
        const placement = place(wanted, given)
        if (placement.kind === 'placed') return
        assert.deepEqual([...new Set(placement.refusals.map((refusal) => refusal.nodeId))].sort(), given.map((load) => load.node.id).sort())
        assert(placement.refusals.every((refusal) => refusal.detail.length > 0))
        assert(given.length === 0 || placement.summary.startsWith(`${given.length} node`))
      }),
    )
  })

  test('the order in which nodes are listed decides nothing', () => {
    const shuffled = loadsArb.chain((given) => fc.tuple(fc.constant(given), fc.shuffledSubarray([...given], { minLength: given.length })))
    fc.assert(fc.property(shuffled, askArb, ([given, other], wanted) => assert.deepEqual(place(wanted, other), place(wanted, given))))
  })
})

describe('the answer, case by case', () => {
  test('the smaller node id wins among equals', () => {
    expect(place(ask(), loads(['b'], ['a'], ['c']))).toEqual({ kind: 'placed', nodeId: 'a' })
  })

  test('the idle node wins over the busy one', () => {
    expect(place(ask(), loads(['a', { reservedCpuMillis: 8000 }], ['b']))).toEqual({ kind: 'placed', nodeId: 'b' })
  })

  test('replicas of one process spread before the processors are looked at', () => {
    const peer = instanceOf({ nodeId: nodeId('a'), membership: membershipOf(), phase: phaseOf('running') })
    const next = instanceOf({ id: instanceId(2), membership: membershipOf({ slot: 1 }) })
    const given = loadsOf([nodeOf('a'), nodeOf('b', { reservedCpuMillis: 12_000 })], [peer], 0)
    expect(place(askOf(next), given)).toEqual({ kind: 'placed', nodeId: 'b' })
  })

  test('a node where the same process lately failed comes second, until ten minutes have passed', () => {
    const broken = (on: string, id: number, sinceMs: number) =>
      instanceOf({ id: instanceId(id), nodeId: nodeId(on), membership: membershipOf({ slot: id }), phase: phaseOf('failed', { sinceMs }) })
    const well = instanceOf({ id: instanceId(9), nodeId: nodeId('b'), membership: membershipOf({ slot: 9 }), phase: phaseOf('running') })
    const wanted = askOf(instanceOf({ id: instanceId(3), membership: membershipOf({ slot: 3 }) }))
    const nodes = [nodeOf('a'), nodeOf('b')]
    expect(place(wanted, loadsOf(nodes, [broken('a', 1, 0), well], 599_999))).toMatchObject({ nodeId: 'b' })
    expect(place(wanted, loadsOf(nodes, [broken('a', 1, 0), well], 600_000))).toMatchObject({ nodeId: 'a' })
  })

  test('exactly fitting memory fits, one byte more does not', () => {
    const free = loads(['a', { facts: { allocatableMemoryBytes: 512 * MEBIBYTE } }])
    expect(place(ask(), free).kind).toBe('placed')
    expect(place(ask({ memoryBytes: 512 * MEBIBYTE + 1 }), free).kind).toBe('refused')
  })

  test('refusals read as sentences, each node with every rule it breaks', () => {
    const placement = place(
      ask({ memoryBytes: 4096 * MEBIBYTE, nodeSelector: { zone: 'eu' } }),
      loads(
        ['c', { connected: false, cordoned: true }],
        ['b', { reservedMemoryBytes: MEBIBYTE, facts: { labels: { zone: 'eu' } } }],
        ['a', { cordoned: true }],
      ),
    )
    expect(placement).toEqual({
      kind: 'refused',
      summary: '3 nodes: 1 offline, 1 cordoned, 1 not selected, 1 short of memory',
      refusals: [
        { nodeId: 'a', refusedBy: 'cordoned', detail: 'nothing new is placed on it until it is uncordoned' },
        { nodeId: 'a', refusedBy: 'selector', detail: 'label zone is not "eu"' },
        { nodeId: 'b', refusedBy: 'memory', detail: 'needs 4096Mi; 4095Mi of 4096Mi is free' },
        { nodeId: 'c', refusedBy: 'offline', detail: 'its agent is not connected' },
      ],
    })
  })

  test('a missing and an unusable runtime are told apart', () => {
    const docker = { runtime: 'docker' as const, usable: false, version: null, detail: 'no socket', fix: null, limits: 'none' as const }
    expect(place(ask({ runtime: 'docker' }), loads(['a', { facts: { runtimes: [docker] } }], ['b']))).toMatchObject({
      refusals: [{ detail: 'the docker runtime is not usable: no socket' }, { detail: 'it does not offer the docker runtime' }],
    })
  })

  test('no node at all is said as such', () => {
    expect(place(ask(), [])).toEqual({ kind: 'refused', refusals: [], summary: 'there is no node yet; start an agent' })
  })

  test('what is stored of refusals is bounded, the summary still counts all nodes', () => {
    const many = loads(...Array.from({ length: 200 }, (_, index): Parameters<typeof nodeOf> => [`n${index}`, { cordoned: true }]))
    const placement = place(ask(), many)
    assert(placement.kind === 'refused')
    expect(placement.refusals).toHaveLength(REFUSALS_MAX)
    expect(placement.summary).toBe('200 nodes: 200 cordoned')
  })
})
