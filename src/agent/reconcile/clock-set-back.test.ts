// The wall clock is set back by a quarter of an hour while something is waited for; nobody waits that long.
import { expect, test } from 'vitest'
import { World } from '../../../tests/support/plan-world.ts'
import { failure } from '../../contracts/errors.ts'

const QUARTER_MS = 900_000

test('a start is verified within the usual time', () => {
  const world = new World().settle()
  world.pass(-QUARTER_MS).pass(2000)
  expect(world.record.verified).toBe(true)
  expect(world.record.phase.reason).toBe('verified')
})

test('the next attempt of a crash loop is made', () => {
  const world = new World().settle().pass(20_000).crash()
  world.crash()
  expect(world.kind).toBe('crash_looping')
  world.pass(-QUARTER_MS).pass(31_000)
  expect(world.record).toMatchObject({ incarnation: 3, phase: { kind: 'running' } })
})

test('a quarantine cools down', () => {
  const world = new World().settle().pass(20_000)
  world.startFails = failure('start_failed', 'no')
  world.crash()
  while (world.kind === 'recovering') world.toWake()
  expect(world.kind).toBe('quarantined')
  world.startFails = null
  world.pass(-QUARTER_MS).pass(301_000)
  expect(world.kind).toBe('running')
})

test('a moment of difference between two clocks is no reason to hurry', () => {
  const world = new World().settle().pass(20_000).crash()
  world.crash()
  world.pass(-500)
  expect(world.kind).toBe('crash_looping')
})
