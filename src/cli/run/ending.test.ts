import { expect, test } from 'vitest'
import { bufferCore } from '../../../tests/support/cli.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import type { Core, SignalName } from '../core.ts'
import { onEnding } from './ending.ts'

function signals() {
  const clock = new ManualClock()
  let send: (signal: SignalName) => void = () => undefined
  let exited: number | undefined
  const core: Core = {
    ...bufferCore().core,
    clock,
    onSignal: (_, run) => {
      send = run
      return () => {
        send = () => undefined
      }
    },
    exitNow: (code) => {
      exited = code
      throw new Error('exit')
    },
  }
  return { clock, core, send: (signal: SignalName) => send(signal), exited: () => exited }
}

test('the first signal asks for an orderly end', async () => {
  const world = signals()
  const ending = onEnding(world.core)
  world.send('SIGTERM')
  expect(await ending.asked).toBe('SIGTERM')
  expect(ending.signal.aborted).toBe(true)
})

test('one Ctrl-C that arrives twice is one wish; a later second one does not wait', async () => {
  const world = signals()
  onEnding(world.core)
  world.send('SIGINT')
  world.send('SIGINT')
  expect(world.exited()).toBeUndefined()
  await world.clock.advance(1000)
  expect(() => world.send('SIGINT')).toThrow('exit')
  expect(world.exited()).toBe(130)
})

test('the loss of a terminal ends only what was running in it', () => {
  const world = signals()
  const ending = onEnding(world.core)
  world.send('SIGHUP')
  expect(ending.signal.aborted).toBe(false)
  let hangups = 0
  ending.onHangup(() => {
    hangups += 1
  })
  world.send('SIGHUP')
  expect([hangups, ending.signal.aborted]).toEqual([1, false])
})

test('while it is asked whether there is more, the second one is the answer and the third does not wait', async () => {
  const world = signals()
  const ending = onEnding(world.core)
  world.send('SIGINT')
  const first = ending.again(10_000)
  await world.clock.advance(10_000)
  expect(await first).toBe(false)
  const second = ending.again(10_000)
  world.send('SIGINT')
  world.send('SIGINT')
  expect(await second).toBe(true)
  await world.clock.advance(1000)
  expect(() => world.send('SIGINT')).toThrow('exit')
})
