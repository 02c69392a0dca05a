import { expect, test } from 'vitest'
import { agent } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { silentLogger } from '../../base/log.ts'
import { ok } from '../../base/result.ts'
import type { RuntimeStatus } from '../../contracts/agent-protocol.ts'
import { InstanceId } from '../../contracts/ids.ts'
import type { Runtime } from '../../contracts/spec.ts'
import { createScanner } from './scanner.ts'

const STRAY = InstanceId.parse('inst_00000000000000000099')
const usable = (runtime: Runtime): RuntimeStatus => ({ runtime, usable: true, version: '1', detail: '', fix: null, limits: 'none' })

/** A scanner of two runtimes, of which docker answers nothing until `answer` is called. */
function stage() {
  const clock = new ManualClock()
  const listed: Runtime[] = []
  let changes = 0
  let answer: () => void = () => {}
  const hanging = new Promise<void>((resolve) => {
    answer = resolve
  })
  const turn = (runtime: Runtime) => (runtime === 'docker' ? hanging : Promise.resolve())
  const scanner = createScanner({
    clock,
    log: silentLogger,
    meter: { count() {}, observe() {}, gauge() {} },
    instances: agent().instances,
    runtimes: ['docker', 'process'],
    detectionIntervalMs: 60_000,
    statusIntervalMs: 15_000,
    startPatienceMs: 1500,
    list: async (runtime) => {
      listed.push(runtime)
      await turn(runtime)
      return ok({ complete: true, byId: new Map() })
    },
    status: (runtime) => turn(runtime).then(() => usable(runtime)),
    statusChanged: () => {
      changes += 1
    },
  })
  return { clock, scanner, listed, answer: () => answer(), changes: () => changes }
}

test('a runtime that hangs holds up neither the start nor the scans of another one, and is told once it answers', async () => {
  const { clock, scanner, listed, answer, changes } = stage()
  let started = false
  void scanner.start().then(() => {
    started = true
  })
  await clock.advance(1499)
  expect(started).toBe(false)
  await clock.advance(1)
  expect(started).toBe(true)
  expect(scanner.statuses()).toMatchObject([
    { runtime: 'docker', usable: false, detail: 'It has not answered yet.' },
    { runtime: 'process', usable: true },
  ])
  await clock.advance(120_000)
  expect(listed.filter((runtime) => runtime === 'process')).toHaveLength(3)
  expect(listed.filter((runtime) => runtime === 'docker')).toHaveLength(1)
  const before = changes()
  answer()
  await clock.advance(0)
  expect(changes()).toBeGreaterThan(before)
  expect(scanner.statuses()[0]).toMatchObject({ runtime: 'docker', usable: true })
  scanner.close()
  expect(clock.timers).toBe(0)
})

test('T35: a stray is named once for as long as it is there, whatever an incomplete listing leaves out', async () => {
  const told: string[] = []
  let listing: readonly [complete: boolean, ids: readonly InstanceId[]] = [true, [STRAY]]
  const scanner = createScanner({
    clock: new ManualClock(),
    log: { ...silentLogger, warn: (msg) => void told.push(msg) },
    meter: { count() {}, observe() {}, gauge() {} },
    instances: agent().instances,
    runtimes: ['process'],
    detectionIntervalMs: 60_000,
    statusIntervalMs: 15_000,
    startPatienceMs: 1500,
    list: async () => ok({ complete: listing[0], byId: new Map(listing[1].map((id) => [id, []])) }),
    status: async () => usable('process'),
    statusChanged: () => {},
  })
  const scan = async (complete: boolean, ids: readonly InstanceId[]) => {
    listing = [complete, ids]
    await scanner.scan('process')
    return told.splice(0)
  }
  expect(await scan(true, [STRAY])).toEqual(['stray runtime object'])
  expect(await scan(true, [STRAY])).toEqual([])
  expect(await scan(false, [])).toEqual([])
  expect(await scan(true, [STRAY])).toEqual([])
  expect(await scan(true, [])).toEqual([])
  expect(await scan(true, [STRAY])).toEqual(['stray runtime object'])
})
