import { expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { createReporter } from './reporter.ts'

const A = InstanceId.parse('inst_0000000000000000000a')
const B = InstanceId.parse('inst_0000000000000000000b')

function reporter(connected = true) {
  const clock = new ManualClock()
  const state = { connected, sent: [] as string[][] }
  const made = createReporter({
    clock,
    batchMax: 2,
    observed: (id) => ({ id }) as Observed,
    ids: () => [A, B],
    send: (items) => {
      if (state.connected) state.sent.push(items.map((item) => item.id))
      return state.connected
    },
  })
  return { clock, state, made }
}

test('a burst of passing states is one message; a lasting state goes at once and takes them along', async () => {
  const { clock, state, made } = reporter()
  made.dirty(A, 'recovering')
  made.dirty(A, 'preparing')
  await clock.advance(10)
  expect(state.sent).toEqual([])
  made.dirty(A, 'running')
  made.dirty(B, 'starting')
  await clock.advance(1)
  expect(state.sent).toEqual([[A, B]])
})

test('a passing state that lasts is told after all', async () => {
  const { clock, state, made } = reporter()
  made.dirty(A, 'preparing')
  await clock.advance(20)
  expect(state.sent).toEqual([[A]])
})

test('what could not be sent is sent when it can be', async () => {
  const { clock, state, made } = reporter(false)
  made.dirty(A, 'running')
  await clock.advance(1000)
  expect(state.sent).toEqual([])
  state.connected = true
  await clock.advance(1000)
  expect(state.sent).toEqual([[A]])
})

test('closed: no timer is left', () => {
  const { clock, made } = reporter()
  made.dirty(A, 'running')
  made.close()
  expect(clock.timers).toBe(0)
})
