import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fairQueue } from './fair-queue.ts'

test('round the groups, and within one in the order they came', () => {
  const queue = fairQueue<string, string>()
  for (const key of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2']) queue.add(key, key.slice(0, 1))
  queue.add('a1', 'c')
  expect(queue.size).toBe(6)
  expect(Array.from({ length: 7 }, () => queue.next())).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3', undefined])
  expect(queue.size).toBe(0)
})

test('whatever is added and removed: each key comes once, and between two of one group every waiting group has its turn', () => {
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('add'), key: fc.nat(30) }),
    fc.record({ kind: fc.constant('remove'), key: fc.nat(30) }),
    fc.record({ kind: fc.constant('next'), key: fc.constant(0) }),
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      const queue = fairQueue<number, number>()
      const waiting = new Set<number>()
      /** Groups served since a group that waits was last served. */
      const passedOver = new Map<number, Map<number, number>>()
      for (const { kind, key } of operations) {
        const group = key % 4
        if (kind === 'add') {
          queue.add(key, group)
          waiting.add(key)
        } else if (kind === 'remove') expect(queue.remove(key)).toBe(waiting.delete(key))
        else {
          const taken = queue.next()
          expect(taken === undefined).toBe(waiting.size === 0)
          if (taken === undefined) continue
          expect(waiting.delete(taken)).toBe(true)
          const others = new Set([...waiting].map((one) => one % 4).filter((one) => one !== taken % 4))
          passedOver.delete(taken % 4)
          for (const other of [...passedOver.keys()]) if (!others.has(other)) passedOver.delete(other)
          for (const other of others) {
            const seen = passedOver.get(other) ?? new Map<number, number>()
            seen.set(taken % 4, (seen.get(taken % 4) ?? 0) + 1)
            passedOver.set(other, seen)
            expect(seen.get(taken % 4)).toBeLessThanOrEqual(2)
          }
        }
        expect(queue.size).toBe(waiting.size)
        expect(queue.has(key)).toBe(waiting.has(key))
      }
    }),
  )
})
