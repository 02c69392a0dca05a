import { expect, test } from 'vitest'
import { instanceId } from '../../../tests/support/control-records.ts'
import { desiredOf } from '../../../tests/support/desired.ts'
import { ReadOrder, WishOrder } from './wish-order.ts'

const [one, two] = [desiredOf({ id: instanceId(1) }), desiredOf({ id: instanceId(2) })]

test('a set that was read before an instance was told deleted, and comes after it, does not bring the instance back', () => {
  const [reads, order] = [new ReadOrder(), new WishOrder()]
  const slow = reads.begin()
  const deleted = { ...one, generation: 2, want: 'deleted' as const }
  expect(order.part([deleted], reads.begin())).toEqual([deleted])
  expect(order.whole([one, two], slow)).toEqual([two])
  expect(order.whole([two], reads.begin())).toEqual([two])
})

test('what a newer whole set has covered is not said after it, be it a part or a whole', () => {
  const [reads, order] = [new ReadOrder(), new WishOrder()]
  const [part, older] = [reads.begin(), reads.begin()]
  expect(order.whole([two], reads.begin())).toEqual([two])
  expect(order.part([one], part)).toEqual([])
  expect(order.whole([one, two], older)).toBeNull()
})

test('parts of different instances hold each other up in no order', () => {
  const [reads, order] = [new ReadOrder(), new WishOrder()]
  const [first, second] = [reads.begin(), reads.begin()]
  expect(order.part([two], second)).toEqual([two])
  expect(order.part([one, two], first)).toEqual([one])
  expect(order.part([one, two], reads.begin())).toEqual([one, two])
})
