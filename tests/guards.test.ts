// HEAL-7, T44: a suspended host and a starved event loop cause no destructive action. A whole agent on the fake driver and a clock that can
// leave it asleep, with the least patient checks there can be and a restart permitted: whatever is late is inconclusive.
import { EventEmitter } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { type AgentParts, runAgent } from '../src/agent/assemble.ts'
import type { Driver } from '../src/agent/drivers/driver.ts'
import { createFakeDriver } from '../src/agent/drivers/fake/fake-driver.ts'
import { Cleanup } from '../src/base/cleanup.ts'
import { ok } from '../src/base/result.ts'
import { seededRandom } from '../src/base/seeded-random.ts'
import { WIRE_STATE, type Wire } from '../src/base/wire.ts'
import type { Desired } from '../src/contracts/agent-protocol.ts'
import { parseReliability } from '../src/contracts/reliability.ts'
import { usualAgentParts } from './support/agent-parts.ts'
import { specOf } from './support/control-records.ts'
import { desiredOf } from './support/desired.ts'
import { ManualClock } from './support/manual-clock.ts'
import { memoryResidue } from './support/memory-residue.ts'

/** A control plane that welcomes with these wishes and says nothing further. */
function greeting(items: readonly Desired[]): Wire {
  const wire = Object.assign(new EventEmitter(), {
    readyState: WIRE_STATE.open,
    bufferedAmount: 0,
    send(text: string, sent?: (error?: Error | null) => void) {
      sent?.(null)
      const message: unknown = JSON.parse(text)
      if (typeof message === 'object' && message !== null && 'type' in message && message.type === 'hello')
        queueMicrotask(() => wire.emit('message', JSON.stringify({ type: 'welcome', items, seen: [] }), false))
    },
    ping: () => void queueMicrotask(() => wire.emit('pong')),
    close: () => void wire.emit('close', 1000),
    terminate: () => void wire.emit('close', 1006),
    pause() {},
    resume() {},
  })
  queueMicrotask(() => wire.emit('open'))
  return wire
}

const ID = desiredOf().id
const TIMING = { interval: '1s', timeout: '500ms', failure_threshold: 2 }

/** Its checks are answered when the test says so: an answer is no timer, and one that lies in a buffer is read after the timers that are due. */
function answered(driver: Driver) {
  const waiting: (() => void)[] = []
  const slow = new Proxy(driver, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (name !== 'exec' && name !== 'probe') return value.bind(target)
      return async (...given: unknown[]) => {
        await new Promise<void>((resolve) => waiting.push(resolve))
        return value.apply(target, given)
      }
    },
  })
  return { slow, waiting, answer: () => void waiting.splice(0).map((give) => give()) }
}

async function impatient() {
  const clock = new ManualClock()
  const { driver, control } = createFakeDriver({ clock })
  const { slow, waiting, answer } = answered(driver)
  const spec = specOf({
    runtime: 'fake',
    command: ['fake', 'run'],
    allow_data_loss: true,
    health: [{ type: 'exec', kind: 'live', command: ['true'], ...TIMING }],
  })
  const reliability = parseReliability({ health_check: TIMING })
  if (!reliability.ok) throw new Error(reliability.error.detail)
  const { usual, said: heard } = usualAgentParts(reliability.value)
  const parts: AgentParts = {
    ...usual,
    clock,
    random: seededRandom(1),
    drivers: new Map([['fake', slow]]),
    // In memory: a real disk takes real time, which this clock does not wait for.
    files: { load: async () => ok([]), append: async () => ok(undefined), remove: async () => ok(undefined) },
    residue: memoryResidue(),
    ports: { resolve: async () => ok([]), adopt() {}, release() {} },
    readings: {
      cores: 2,
      cpuTimes: () => null,
      memory: () => ({ totalBytes: 2 ** 32, usedBytes: 0 }),
      diskRatio: () => 0,
      stalls: () => [],
    },
    paths: [],
    control: { url: 'ws://control', token: 't', dial: () => greeting([desiredOf({ spec })]) },
    cleanup: new Cleanup(),
  }
  /** Awake, and answered at once. */
  const awake = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 50) {
      await clock.advance(50)
      answer()
    }
    await clock.advance(0)
  }
  const starting = runAgent(parts)
  await awake(3000)
  const agent = await starting
  if (!agent.ok) throw new Error(agent.error.detail)
  onTestFinished(async () => {
    const closing = agent.value.close()
    await clock.advance(10_000)
    await closing
  })
  const incarnation = () => control.live(ID)[0]?.want.incarnation
  await awake(30_000)
  expect(incarnation()).toBe(1)
  const said = () => heard().filter((line) => /unhealthy|orphaned|check failed/.test(line))
  return { clock, incarnation, said, awake, waiting, answer }
}

test('T44: that the guards are seen: checks that nobody answers end the workload', async () => {
  const { clock, incarnation, said } = await impatient()
  for (let round = 0; round < 100; round += 1) await clock.advance(100)
  expect([incarnation() === 1, said().length > 0]).toEqual([false, true])
})

test('T44: suspended for ten minutes, again and again and in the middle of checks, it kills nothing healthy', async () => {
  const { clock, incarnation, said, awake, waiting, answer } = await impatient()
  for (let round = 0; round < 60; round += 1) {
    while (waiting.length === 0) await clock.advance(50)
    await clock.asleep(600_000)
    answer()
    await awake(round * 20)
  }
  expect(incarnation()).toBe(1)
  expect(said()).toEqual([])
})

test('T44: starved for minutes, each answer read late by another while, it kills nothing healthy', async () => {
  const { clock, incarnation, said, answer } = await impatient()
  const random = seededRandom(7)
  for (let round = 0; round < 600; round += 1) {
    await clock.asleep(Math.floor(600 + random.fraction() * 4000))
    answer()
    await clock.advance(Math.floor(random.fraction() * 300))
  }
  expect(incarnation()).toBe(1)
  expect(said()).toEqual([])
})
