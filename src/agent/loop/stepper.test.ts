import { expect, test } from 'vitest'
import { desired, ID } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { MODES_ON, POLICY } from '../../../tests/support/plan-world.ts'
import { err, ok } from '../../base/result.ts'
import { seededRandom } from '../../base/seeded-random.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import { failure } from '../../contracts/errors.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Seen } from '../drivers/driver.ts'
import { LIMITS } from '../limits.ts'
import { newRecord } from '../model/record.ts'
import type { Sight } from '../observe/look.ts'
import { specKey } from '../reconcile/moves.ts'
import { blockedOf, type Entry, newEntry, observedOf } from './entry.ts'
import { Stepper, type StepperDeps } from './stepper.ts'

const LIVING: Seen = {
  id: ID,
  incarnation: 1,
  nonce: 'n',
  state: 'running',
  pid: 2,
  startTime: '1',
  exit: null,
  addresses: [],
  startedAtMs: 1,
  notes: [],
  cloudInit: null,
  matches: true,
}

/** An instance that runs in the process runtime and is wished stopped, with a spec for docker. */
const OPEN_GATE: StepperDeps['gate'] = { turnOf: () => ({ kind: 'granted', waitedMs: 0 }), isAt() {}, concluded() {} }

function moving() {
  const clock = new ManualClock()
  const objects = new Map<Runtime, Seen[]>([['process', [LIVING]]])
  const done: string[] = []
  const world = { reachable: true, diskFull: false }
  const counted: string[] = []
  const told: Observed[] = []
  const silent = { debug() {}, info() {}, warn() {}, error() {} }
  const spec = { ...desired().spec, runtime: 'process' as const }
  const look = async (_id: unknown, runtime: Runtime): Promise<Sight> =>
    world.reachable
      ? { kind: 'known', objects: objects.get(runtime) ?? [] }
      : { kind: 'unknown', failure: failure('runtime_unreachable', 'away') }
  const deps = {
    clock,
    random: seededRandom(1),
    log: silent,
    meter: {
      count: (name: string, labels?: Readonly<Record<string, string>>) => void (labels?.code && counted.push(`${name} ${labels.code}`)),
      observe() {},
      gauge() {},
    },
    limits: LIMITS,
    look,
    execute: async (record: { desired: { spec: { runtime: Runtime } } }, action: { kind: string }) => {
      const { runtime } = record.desired.spec
      done.push(`${runtime} ${action.kind}`)
      if (action.kind === 'stop') objects.set(runtime, [{ ...LIVING, state: 'dead' }])
      if (action.kind === 'remove') objects.set(runtime, [])
      return ok({})
    },
    journal: async () => (world.diskFull ? err(failure('disk_full', 'No room left to write /j.', { path: '/j' })) : ok(undefined)),
    removeFiles: async () => ok(undefined),
    policyFor: () => POLICY,
    modesFor: () => MODES_ON,
    gate: OPEN_GATE,
    gated: () => false,
    changed: (changed: Entry) => void told.push(observedOf(changed)),
    adoptReservation() {},
    releaseReservation() {},
  }
  const record = newRecord(desired({ spec }), 0)
  const entry = newEntry({ ...record, incarnation: 1, nonce: 'n', phase: { ...record.phase, kind: 'running' } }, [])
  entry.wish = desired({ generation: 2, want: 'stopped', spec: { ...spec, runtime: 'docker' } })
  const stepper = new Stepper(
    deps,
    new AbortController(),
    () => void stepper.run(entry),
    () => {},
  )
  return { clock, entry, stepper, done, world, objects, counted, told }
}

test('a spec for another runtime: what the old one holds is stopped and removed before nobody asks it again', async () => {
  const { entry, stepper, done, objects } = moving()
  await stepper.run(entry)
  expect(done).toEqual(['process stop', 'process remove'])
  expect(objects.get('process')).toEqual([])
  expect(entry.record).toMatchObject({ desired: { generation: 2, spec: { runtime: 'docker' } }, phase: { kind: 'stopped' } })
})

test('while the old runtime does not answer nothing is concluded; it is asked again', async () => {
  const { clock, entry, stepper, done, world } = moving()
  world.reachable = false
  await stepper.run(entry)
  expect(done).toEqual([])
  expect(entry.record).toMatchObject({ desired: { generation: 1 }, phase: { kind: 'running' } })
  world.reachable = true
  await clock.advance(LIMITS.diskRetryMs + 10)
  expect(done).toEqual(['process stop', 'process remove'])
  expect(entry.record.phase.kind).toBe('stopped')
})

test('a disk that takes no records is told and counted once, and is forgotten when it takes them again', async () => {
  const { clock, entry, stepper, world, counted, told } = moving()
  // A wish that changes nothing but its number: there is only the record to write.
  entry.record = { ...entry.record, startedSpec: specKey(entry.record), verified: true, startedAtMs: 1 }
  entry.wish = { ...entry.record.desired, generation: 2 }
  world.diskFull = true
  await stepper.run(entry)
  await clock.advance(3 * LIMITS.diskRetryMs)
  expect(counted).toEqual(['errors_total disk_full'])
  expect(told.at(-1)).toMatchObject({ generation: 1, phase: { kind: 'running' }, blocked: { code: 'disk_full', fields: { path: '/j' } } })
  expect(blockedOf([entry])).toEqual({ code: 'disk_full', detail: 'No room left to write /j.', instances: 1 })
  world.diskFull = false
  await clock.advance(LIMITS.diskRetryMs + 10)
  expect(told.at(-1)).toMatchObject({ generation: 2 })
  expect(told.at(-1)).not.toHaveProperty('blocked')
  expect(blockedOf([entry])).toBeUndefined()
})
