// How long an orphan has been one: the alert for "more than five minutes" rests on it.
import { expect, test } from 'vitest'
import { UNHEALTHY, World } from '../../../tests/support/plan-world.ts'
import { failure } from '../../contracts/errors.ts'
import { orphanedSinceMs } from './gauges.ts'

const up = () => new World().settle().pass(1000).pass(20_000)

test('T19, T40: an orphan is one since it was lost, through attempts, quarantine and every trial, until a start proves itself', () => {
  const world = up()
  expect(orphanedSinceMs(world.record)).toBeNull()
  const lostMs = world.nowMs
  world.startFails = failure('start_failed', 'no')
  world.crash()
  const trials = 5
  for (let seen = 0; seen < trials; seen += world.kind === 'quarantined' ? 1 : 0) {
    expect([world.kind, orphanedSinceMs(world.record)]).toEqual([world.kind, lostMs])
    world.toWake()
  }
  expect([world.kind, orphanedSinceMs(world.record)]).toEqual(['quarantined', lostMs])
  expect(world.nowMs - lostMs).toBeGreaterThan((trials - 1) * 300_000)
  world.startFails = null
  world.toWake()
  expect([world.kind, world.record.verified, orphanedSinceMs(world.record)]).toEqual(['running', false, lostMs])
  world.toWake()
  expect([world.kind, world.record.verified, orphanedSinceMs(world.record)]).toEqual(['running', true, null])
  world.pass(20_000)
  const againMs = world.nowMs
  world.startFails = failure('start_failed', 'no')
  world.crash()
  expect(orphanedSinceMs(world.record)).toBe(againMs)
})

test('a crash loop is an orphan between its runs, since its first end; what is stopped or never ran is none', () => {
  const world = up()
  const firstMs = world.nowMs
  world.crash()
  world.pass(1500)
  expect(orphanedSinceMs(world.record)).toBeNull()
  world.crash()
  expect([world.kind, orphanedSinceMs(world.record)]).toEqual(['crash_looping', firstMs])
  world.wish({ want: 'stopped' })
  expect(orphanedSinceMs(world.record)).toBeNull()
  const fresh = new World()
  fresh.startFails = failure('start_failed', 'no')
  expect(orphanedSinceMs(fresh.settle().record)).toBeNull()
})

test('one that ran, and whose next start failed for good, stays an orphan since it was lost; one that never ran is none', () => {
  const world = up()
  const lostMs = world.nowMs
  world.startFails = failure('start_failed', 'no')
  world.crash()
  world.startFails = failure('image_not_found', 'gone')
  world.toWake()
  expect(world.record.phase).toMatchObject({ kind: 'failed', reason: 'permanent_error' })
  expect(world.nowMs).toBeGreaterThan(lostMs)
  expect(orphanedSinceMs(world.record)).toBe(lostMs)
  world.wish({ want: 'stopped' })
  expect(orphanedSinceMs(world.record)).toBeNull()

  const restarted = up()
  restarted.startFails = failure('image_not_found', 'gone')
  restarted.wish({ restartSeq: 1 })
  expect(restarted.record.phase).toMatchObject({ kind: 'failed', reason: 'permanent_error' })
  expect(orphanedSinceMs(restarted.record)).toBe(restarted.record.phase.sinceMs)

  const fresh = new World()
  fresh.startFails = failure('image_not_found', 'no')
  expect(fresh.settle().record.phase).toMatchObject({ kind: 'failed', reason: 'permanent_error' })
  expect(orphanedSinceMs(fresh.record)).toBeNull()
})

test('one that is ill is an orphan since it became ill', () => {
  const world = up()
  world.verdict = UNHEALTHY
  world.settle()
  expect([world.kind, orphanedSinceMs(world.record)]).toEqual(['degraded', world.record.phase.sinceMs])
})
