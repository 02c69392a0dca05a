import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CHUNK_BYTES_MAX, chunkCost, ReceiveWindow, SendWindow, WINDOW_BYTES, WINDOW_BYTES_MIN } from './stream-window.ts'

const dataOf = (bytes: number) => ({ data: 'A'.repeat(4 * Math.ceil(bytes / 3)) })
const sizes = fc.array(fc.oneof(fc.nat({ max: CHUNK_BYTES_MAX }), fc.constant(0), fc.constant(CHUNK_BYTES_MAX)), {
  minLength: 1,
  maxLength: 60,
})
/** Whose turn it is next: the agent that sends, the network either way, the reader that takes. */
const turns = fc.array(fc.constantFrom('send', 'arrive', 'take', 'credit'), { maxLength: 200 })

test('in any order of turns: what is under way stays within the window, the order holds, nothing stalls, all arrives', () => {
  fc.assert(
    fc.property(sizes, turns, fc.integer({ min: WINDOW_BYTES_MIN, max: WINDOW_BYTES }), (given, order, windowBytes) => {
      const costs = given.map((bytes) => chunkCost(dataOf(bytes)))
      const [sender, receiver] = [new SendWindow(windowBytes), new ReceiveWindow(windowBytes)]
      const left = costs.map((cost, index) => ({ cost, index }))
      const [wire, waiting, credits, taken]: [typeof left, typeof left, number[], number[]] = [[], [], [], []]
      const act = {
        send: () => left[0] !== undefined && sender.spend(left[0].cost) && wire.push(left.shift()!) > 0,
        arrive: () => {
          const one = wire.shift()
          if (one) expect(receiver.receive(one.cost)).toBe(true)
          return one !== undefined && waiting.push(one) > 0
        },
        take: () => {
          const one = waiting.shift()
          if (!one) return false
          taken.push(one.index)
          const credit = receiver.take(one.cost)
          if (credit > 0) credits.push(credit)
          return true
        },
        credit: () => {
          const one = credits.shift()
          if (one) sender.grant(one)
          return one !== undefined
        },
      }
      const bounded = () => expect([...wire, ...waiting].reduce((sum, { cost }) => sum + cost, 0)).toBeLessThanOrEqual(windowBytes)
      for (const turn of order) {
        act[turn]()
        bounded()
      }
      // From anywhere it comes to its end when everybody goes on.
      while (act.send() || act.arrive() || act.take() || act.credit()) bounded()
      expect(taken).toEqual(costs.map((_, index) => index))
    }),
  )
})

test('a reader that takes nothing gets no more than its window; what goes beyond it is told', () => {
  const [sender, receiver] = [new SendWindow(WINDOW_BYTES), new ReceiveWindow(WINDOW_BYTES)]
  const cost = chunkCost(dataOf(CHUNK_BYTES_MAX))
  let sent = 0
  for (; sender.spend(cost); sent += 1) expect(receiver.receive(cost)).toBe(true)
  expect(sent).toBe(Math.floor(WINDOW_BYTES / cost))
  expect(receiver.receive(cost)).toBe(false)
})

test('tiny chunks count for what they take in memory, not for their bytes', () => {
  const sender = new SendWindow(WINDOW_BYTES)
  let sent = 0
  while (sender.spend(chunkCost(dataOf(1)))) sent += 1
  expect(sent).toBeLessThan(2100)
})
