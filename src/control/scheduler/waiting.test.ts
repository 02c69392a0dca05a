import fc from 'fast-check'
import { assert, describe, expect, test } from 'vitest'
import { instanceId, nodeOf } from '../../../tests/support/control-records.ts'
import { loadsOf } from './ask.ts'
import { place } from './place.ts'
import { addGrounds, NO_GROUNDS, toLookAt, type Waiting } from './waiting.ts'

const MEBIBYTE = 2 ** 20
const CHANGED = [instanceId(1)]
const some = (...nodes: Parameters<typeof nodeOf>[]): Waiting => ({
  grounds: addGrounds(
    NO_GROUNDS,
    nodes.map((node) => nodeOf(...node)),
  ),
  any: true,
})
const nodeArb = fc.record({
  cordoned: fc.boolean(),
  connected: fc.boolean(),
  reserved: fc.integer({ min: 0, max: 4 }),
  allocatable: fc.integer({ min: 0, max: 4 }),
  pressure: fc.constantFrom([] as const, ['cpu'] as const),
})
const nodesArb = fc.array(nodeArb, { maxLength: 3 }).map((nodes) =>
  nodes.map(({ cordoned, connected, reserved, allocatable, pressure }, index) =>
    nodeOf(`node-${index}`, {
      cordoned,
      connected,
      reservedMemoryBytes: reserved * MEBIBYTE,
      facts: { allocatableMemoryBytes: allocatable * MEBIBYTE },
      usage: { pressure: [...pressure] },
    }),
  ),
)

describe('who has to be asked about again', () => {
  test('nobody is left out who would be taken now', () => {
    let spared = 0
    fc.assert(
      fc.property(fc.array(nodesArb, { minLength: 1, maxLength: 3 }), nodesArb, fc.integer({ min: 1, max: 4 }), (looks, now, size) => {
        const ask = { runtime: 'fake', memoryBytes: size * MEBIBYTE, cpuMillis: 1, nodeSelector: {}, group: null } as const
        const refusedAll = looks.every((nodes) => place(ask, loadsOf(nodes, [], 0)).kind === 'refused')
        // Looks that are not about everything happen only while no node could take more.
        let known: Waiting = { grounds: addGrounds(NO_GROUNDS, looks[0] ?? []), any: true }
        for (const nodes of looks.slice(1)) {
          if (toLookAt(known, CHANGED, nodes) === null) return
          known = { grounds: addGrounds(known.grounds, nodes), any: true }
        }
        if (!refusedAll || toLookAt(known, CHANGED, now) === null) return
        spared += 1
        assert.equal(place(ask, loadsOf(now, [], 0)).kind, 'refused')
      }),
      { numRuns: 5000 },
    )
    assert(spared > 0, 'some looks are spared')
  })

  test.each<[string, Parameters<typeof nodeOf>[1]]>([
    ['an instance of it has ended', { reservedMemoryBytes: MEBIBYTE }],
    ['it can be placed on again', { cordoned: false }],
    ['it has come back', { connected: true }],
    ['its pressure is over', { usage: { pressure: [] } }],
    ['it has another label', { facts: { labels: { zone: 'b' } } }],
  ])('everybody, when of a node %s', (_, change) => {
    const before = { cordoned: true, connected: false, reservedMemoryBytes: 2 * MEBIBYTE, usage: { pressure: ['cpu' as const] } }
    expect(toLookAt(some(['a', before]), CHANGED, [nodeOf('a', { ...before, ...change })])).toBeNull()
  })

  test('everybody, when there is a new node, when nothing is known, and when anything may have changed', () => {
    expect(toLookAt(some(['a']), CHANGED, [nodeOf('a'), nodeOf('b')])).toBeNull()
    expect(toLookAt(null, CHANGED, [nodeOf('a')])).toBeNull()
    expect(toLookAt(some(['a']), null, [nodeOf('a')])).toBeNull()
  })

  test('only what has changed, when the nodes are as before, promised more, or gone, and when nobody waits', () => {
    const before = { reservedMemoryBytes: MEBIBYTE }
    expect(toLookAt(some(['a', before]), CHANGED, [nodeOf('a', before)])).toEqual(CHANGED)
    expect(toLookAt(some(['a', before]), CHANGED, [nodeOf('a', { reservedMemoryBytes: 2 * MEBIBYTE })])).toEqual(CHANGED)
    expect(toLookAt(some(['a'], ['b']), CHANGED, [nodeOf('a')])).toEqual(CHANGED)
    expect(toLookAt({ ...some(['a', before]), any: false }, CHANGED, [nodeOf('a')])).toEqual(CHANGED)
  })
})
