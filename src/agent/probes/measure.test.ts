import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { measure } from './measure.ts'
import { type Finding, pass } from './outcome.ts'

/** A process that was stopped: time went on, its timers did not. */
class SleepyClock extends ManualClock {
  #sleptMs = 0
  override elapsedMs(): number {
    return super.elapsedMs() + this.#sleptMs
  }
  fallAsleep(ms: number): void {
    this.#sleptMs += ms
  }
}

const hang = (signal: AbortSignal) =>
  new Promise<Finding>((resolve) =>
    signal.addEventListener('abort', () => resolve({ kind: 'fail', reason: 'connection_failed', detail: 'aborted' })),
  )
const never = new AbortController().signal

describe('one run under its deadline', () => {
  test('what answers in time is measured, and no timer stays', async () => {
    const clock = new ManualClock()
    const { measurement } = measure(clock, () => clock.sleep(30).then(() => pass('yes')), 100, never)
    await clock.advance(30)
    expect(await measurement).toEqual({ kind: 'pass', detail: 'yes', durationMs: 30 })
    expect(clock.timers).toBe(0)
  })

  test('T09: what hangs is a timeout at its deadline, and is told to end', async () => {
    const clock = new ManualClock()
    const { measurement, ended } = measure(clock, hang, 100, never)
    await clock.advance(100)
    expect(await measurement).toEqual({ kind: 'fail', reason: 'timeout', detail: 'no answer within 100 ms', durationMs: 100 })
    await ended
    expect(clock.timers).toBe(0)
  })

  test('T09: what ignores its signal does not hold the measurement', async () => {
    const clock = new ManualClock()
    let over = false
    const { measurement, ended } = measure(clock, () => clock.sleep(10_000).then(() => pass('late')), 100, never)
    void ended.then(() => {
      over = true
    })
    await clock.advance(100)
    expect(await measurement).toMatchObject({ reason: 'timeout' })
    expect(over).toBe(false)
    await clock.advance(10_000)
    expect(over).toBe(true)
  })

  test('T44: a deadline that comes late because the agent slept proves nothing', async () => {
    const clock = new SleepyClock()
    const { measurement } = measure(clock, hang, 100, never)
    clock.fallAsleep(600_000)
    await clock.advance(100)
    await clock.advance(100)
    expect(await measurement).toMatchObject({ kind: 'inconclusive', detail: expect.stringContaining('late by 10 min') })
  })

  test('T44: an answer that waited in the buffer while the agent slept counts, and its lateness is subtracted', async () => {
    const clock = new SleepyClock()
    const answer = Promise.withResolvers<Finding>()
    const { measurement } = measure(clock, () => answer.promise, 100, never)
    clock.fallAsleep(200)
    await clock.advance(100)
    answer.resolve(pass('there all along'))
    expect(await measurement).toEqual({ kind: 'pass', detail: 'there all along', durationMs: 100 })
    expect(clock.timers).toBe(0)
  })

  test('a deadline a little late is moved by as much and then stands', async () => {
    const clock = new SleepyClock()
    const { measurement } = measure(clock, hang, 100, never)
    clock.fallAsleep(50)
    await clock.advance(100)
    let settled = false
    void measurement.then(() => {
      settled = true
    })
    await clock.advance(49)
    expect(settled).toBe(false)
    await clock.advance(1)
    expect(await measurement).toMatchObject({ kind: 'fail', reason: 'timeout' })
  })

  test('stopping ends the run and leaves no timer', async () => {
    const clock = new ManualClock()
    const stop = new AbortController()
    const { measurement, ended } = measure(clock, hang, 100, stop.signal)
    stop.abort()
    expect(await measurement).toMatchObject({ kind: 'inconclusive' })
    await ended
    expect(clock.timers).toBe(0)
    expect(await measure(clock, hang, 100, AbortSignal.abort()).measurement).toMatchObject({ kind: 'inconclusive' })
  })
})
