import { afterEach, expect, test } from 'vitest'
import { ManualClock, seededRandom } from '../../../tests/support/manual-clock.ts'
import { err, OK, type Result } from '../../base/result.ts'
import { semaphore } from '../../base/semaphore.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId, OrgId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import { InstanceInput } from '../../contracts/spec.ts'
import { compileSpec } from '../../contracts/spec-compile.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'
import { type ExecuteDeps, execute } from '../execute/execute.ts'
import { createLedger } from '../execute/ledger.ts'
import { LIMITS } from '../limits.ts'
import type { JournalLine } from '../model/record.ts'
import { lookAt, lookAtAll } from '../observe/look.ts'
import { Instances } from './instances.ts'
import { createScanner } from './scanner.ts'

const ID = InstanceId.parse('inst_00000000000000000001')
const QUIET: Meter = { count() {}, observe() {}, gauge() {} }

function desired(change: Partial<Desired> = {}, id = ID): Desired {
  const spec = compileSpec(InstanceInput.parse({ runtime: 'fake', command: ['fake', 'run'] }))
  if (!spec.ok) throw new Error(spec.error.detail)
  return {
    id,
    orgId: OrgId.parse('org_00000000000000000001'),
    name: 'web',
    generation: 1,
    want: 'running',
    spec: spec.value,
    labels: {},
    recoveryMode: null,
    restartSeq: 0,
    recoverSeq: 0,
    healSeq: 0,
    ...change,
  }
}

const open: Instances[] = []
afterEach(async () => {
  for (const instances of open.splice(0)) await instances.close()
})

interface Lines {
  lines: JournalLine[]
  refuse: Failure | null
}

function agent(
  world = createFakeDriver({ clock: new ManualClock() }),
  clock = new ManualClock(),
  kept: Map<InstanceId, Lines> = new Map(),
) {
  const { driver, control } = world
  const logs: { level: string; msg: string }[] = []
  const told: string[] = []
  const looking: { before: () => void } = { before() {} }
  const say = (level: string) => (msg: string) => void logs.push({ level, msg })
  const ledger = createLedger(() => OK)
  const deps: ExecuteDeps = {
    clock,
    limits: LIMITS,
    drivers: new Map([['fake', driver]]),
    ledger,
    ports: { resolve: async () => ({ ok: true, value: [] }), adopt() {}, release() {} },
    starts: semaphore(4),
    nodeId: 'node-1',
  }
  const journal = async (id: InstanceId, line: JournalLine): Promise<Result<void, Failure>> => {
    const file = kept.get(id) ?? { lines: [], refuse: null }
    kept.set(id, file)
    if (file.refuse) return err(file.refuse)
    file.lines.push(line)
    return OK
  }
  const instances = new Instances({
    clock,
    random: seededRandom(1),
    log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') },
    meter: QUIET,
    limits: LIMITS,
    look: async (id, _runtime, signal) => {
      const sight = await lookAt(clock, driver, id, 5000, signal)
      looking.before()
      return sight
    },
    execute: (record, action, signal) => execute(deps, record, action, signal),
    journal,
    removeFiles: async (id) => {
      kept.delete(id)
      return OK
    },
    policyFor: () => ({
      mode: 'on',
      maxRetries: 3,
      backoff: { baseMs: 30_000, factor: 2, maxMs: 300_000 },
      recoveryTimeoutMs: 600_000,
      stableAfterMs: 10_000,
      verifyAfterMs: 1000,
      cooldownMs: 300_000,
      allowDataLoss: false,
    }),
    gated: () => false,
    changed: (entry) => void told.push(entry.sight.kind),
    adoptReservation: (record) => ledger.adopt(record.desired.id, record.desired.spec),
    releaseReservation: (id) => ledger.release(id),
  })
  open.push(instances)
  void driver.watch((event) => {
    if (event.kind === 'instance') instances.lookAgain(event.id)
  })
  const scanner = createScanner({
    clock,
    log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') },
    meter: QUIET,
    instances,
    runtimes: ['fake'],
    detectionIntervalMs: 60_000,
    statusIntervalMs: 15_000,
    list: () => lookAtAll(clock, driver, 5000, new AbortController().signal),
    status: (_runtime) => driver.status(new AbortController().signal),
    statusChanged() {},
  })
  return {
    clock,
    driver,
    control,
    instances,
    scanner,
    logs,
    told,
    looking,
    kept,
    ledger,
    entry: () => instances.entries.get(ID),
    kind: () => instances.entries.get(ID)?.record.phase.kind,
  }
}

test('a wish becomes a running, verified instance; its transitions are numbered without gaps', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(1500)
  expect(one.entry()?.record).toMatchObject({ incarnation: 1, verified: true, phase: { kind: 'running' } })
  const seqs = one.instances.observed(ID)?.transitions.map((transition) => transition.seq)
  expect(seqs).toEqual(seqs?.map((_, index) => index + 1))
  expect(one.ledger.reservedMemoryBytes).toBe(desired().spec.memoryBytes)
})

test('HEAL-2 an exit event alone leads to a new incarnation, without a scan', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  one.control.exit(ID, { signal: 'SIGKILL' })
  await one.clock.advance(10)
  expect(one.entry()?.record).toMatchObject({ incarnation: 2, phase: { kind: 'running' } })
  await one.clock.advance(2000)
  expect(one.logs.filter((line) => line.msg === 'vm recovery successful')).toHaveLength(1)
  expect(one.logs.filter((line) => line.msg === 'orphaned vm detected')).toHaveLength(1)
})

test('a lost exit event is found by the scan', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  one.control.exit(ID, { signal: 'SIGKILL', quiet: true })
  await one.clock.advance(10)
  expect(one.entry()?.record.incarnation).toBe(1)
  await one.scanner.scan('fake')
  await one.clock.advance(10)
  expect(one.entry()?.record.incarnation).toBe(2)
})

test('T25 a listing that began before a restart does not undo it', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  const before = await lookAtAll(one.clock, one.driver, 5000, new AbortController().signal)
  const epoch = one.entry()?.epoch ?? -1
  one.control.exit(ID, { signal: 'SIGKILL' })
  await one.clock.advance(10)
  expect(one.entry()?.record.incarnation).toBe(2)
  if (!before.ok) throw new Error('the listing failed')
  one.instances.setSight(ID, { kind: 'known', objects: before.value.byId.get(ID) ?? [] }, epoch)
  await one.clock.advance(10)
  expect(one.entry()?.record.incarnation).toBe(2)
  expect(one.control.live(ID)).toHaveLength(1)
})

test('HEAL-3 an unreachable runtime and a partial listing restart nothing', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  one.control.partialListings(true)
  await one.scanner.scan('fake')
  await one.clock.advance(10)
  expect(one.entry()?.record.incarnation).toBe(1)
  one.control.partialListings(false)
  one.control.reachable(false)
  await one.scanner.scan('fake')
  await one.clock.advance(60_000)
  expect(one.entry()?.record).toMatchObject({ incarnation: 1, phase: { kind: 'running' } })
  expect(one.instances.observed(ID)?.notes.join()).toContain('runtime_unreachable')
  one.control.reachable(true)
  await one.scanner.scan('fake')
  await one.clock.advance(10)
  expect(one.entry()?.record.incarnation).toBe(1)
})

test('HEAL-12 a second agent on the same journal and runtime adopts: nothing is restarted, an exit meanwhile is answered once', async () => {
  const first = agent()
  first.instances.setDesired([desired()])
  await first.clock.advance(20_000)
  await first.instances.close()
  const lines = first.kept.get(ID)?.lines ?? []
  const last = lines.at(-1)
  if (!last) throw new Error('nothing was journalled')
  const adoptInto = (next: ReturnType<typeof agent>) =>
    next.instances.adopt([{ last, transitions: lines.flatMap((line) => line.transitions) }])
  const second = agent({ driver: first.control.reopen(), control: first.control }, first.clock, first.kept)
  adoptInto(second)
  await second.scanner.scan('fake')
  await second.clock.advance(2000)
  expect(second.entry()?.record).toMatchObject({ incarnation: 1, phase: { kind: 'running' } })
  await second.instances.close()
  first.control.exit(ID, { code: 1, quiet: true })
  const third = agent({ driver: first.control.reopen(), control: first.control }, first.clock, first.kept)
  adoptInto(third)
  await third.scanner.scan('fake')
  await third.clock.advance(10)
  expect(third.entry()?.record).toMatchObject({ incarnation: 2, lastExit: { code: 1 } })
  expect(first.control.live(ID)).toHaveLength(1)
})

test('T28 a stop during a hanging start aborts it; nothing runs afterwards', async () => {
  const one = agent()
  one.control.hangNext('start')
  one.instances.setDesired([desired()])
  await one.clock.advance(100)
  expect(one.kind()).toBe('starting')
  one.instances.setDesired([desired({ generation: 2, want: 'stopped' })])
  await one.clock.advance(100)
  expect(one.kind()).toBe('stopped')
  expect(one.control.live(ID)).toHaveLength(0)
  expect(one.ledger.reservedMemoryBytes).toBe(0)
})

test('a start that hangs ends in start_timeout and holds no other instance up', async () => {
  const one = agent()
  const other = InstanceId.parse('inst_00000000000000000002')
  one.control.hangNext('start')
  one.instances.setDesired([desired(), desired({}, other)])
  await one.clock.advance(200)
  expect(one.instances.entries.get(other)?.record.phase.kind).toBe('running')
  await one.clock.advance(LIMITS.startDeadlineMs + 2000)
  expect(one.entry()?.record.phase).toMatchObject({ kind: 'failed', lastError: { code: 'start_timeout' } })
})

test('a full disk stops every further step, says so, and goes on when there is room', async () => {
  const one = agent()
  one.kept.set(ID, { lines: [], refuse: failure('disk_full', 'no space left') })
  one.instances.setDesired([desired()])
  await one.clock.advance(5000)
  expect(one.control.live(ID)).toHaveLength(0)
  expect(one.instances.observed(ID)?.notes.join()).toContain('disk_full')
  expect(one.logs.filter((line) => line.msg === 'instance journal refused')).toHaveLength(1)
  one.kept.set(ID, { lines: [], refuse: null })
  await one.clock.advance(3000)
  expect(one.kind()).toBe('running')
})

test('an old wish never wins, and the same wish twice acts once', async () => {
  const one = agent()
  one.instances.setDesired([desired({ generation: 5 })])
  await one.clock.advance(2000)
  one.instances.setDesired([desired({ generation: 4, want: 'stopped' })])
  await one.clock.advance(100)
  expect(one.kind()).toBe('running')
  one.instances.setDesired([desired({ generation: 6, restartSeq: 1 })])
  one.instances.setDesired([desired({ generation: 6, restartSeq: 1 })])
  await one.clock.advance(2000)
  expect(one.entry()?.record.incarnation).toBe(2)
})

test('deleted: objects removed, files go only after the control plane stored it', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(2000)
  one.instances.setDesired([desired({ generation: 2, want: 'deleted' })])
  await one.clock.advance(200)
  expect(one.kind()).toBe('deleted')
  expect(one.control.world.objects.filter((object) => !object.removed)).toEqual([])
  expect(one.kept.has(ID)).toBe(true)
  one.instances.acked(ID, one.entry()?.record.seq ?? 0)
  await one.clock.advance(10)
  expect(one.instances.entries.size).toBe(0)
  expect(one.kept.has(ID)).toBe(false)
})

test('shutdown stops every workload without touching what is wished', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(2000)
  const done = one.instances.shutdown(new AbortController().signal)
  await one.clock.advance(1000)
  await done
  expect(one.control.live(ID)).toHaveLength(0)
  expect(one.entry()?.record.desired.want).toBe('running')
})

test('a shutdown leaves what has ended as it is: the next start of the node does not run a one-shot again', async () => {
  const one = agent()
  const spec = { ...desired().spec, restart: 'never' as const }
  one.instances.setDesired([desired({ spec })])
  await one.clock.advance(100)
  one.control.exit(ID, { code: 0 })
  await one.clock.advance(100)
  expect(one.kind()).toBe('completed')
  const done = one.instances.shutdown(new AbortController().signal)
  await one.clock.advance(100)
  await done
  expect(one.kind()).toBe('completed')
})

test('an agent that came to stop everything starts nothing of what it finds stopped', async () => {
  const first = agent()
  first.instances.setDesired([desired()])
  await first.clock.advance(2000)
  const stopped = first.instances.shutdown(new AbortController().signal)
  await first.clock.advance(1000)
  await stopped
  await first.instances.close()
  const lines = first.kept.get(ID)?.lines ?? []
  const last = lines.at(-1)
  if (!last) throw new Error('nothing was journalled')
  const second = agent({ driver: first.control.reopen(), control: first.control }, first.clock, first.kept)
  second.instances.beginShutdown()
  second.instances.adopt([{ last, transitions: [] }])
  await second.scanner.scan('fake')
  await second.clock.advance(1000)
  expect(second.entry()?.record).toMatchObject({ incarnation: 1, phase: { kind: 'stopped' } })
})

test('an adopted instance in no need of a change is told of once it has been seen, so that its checks begin', async () => {
  const first = agent()
  first.instances.setDesired([desired()])
  await first.clock.advance(20_000)
  await first.instances.close()
  const last = first.kept.get(ID)?.lines.at(-1)
  if (!last) throw new Error('nothing was journalled')
  const second = agent({ driver: first.control.reopen(), control: first.control }, first.clock, first.kept)
  second.instances.adopt([{ last, transitions: [] }])
  await second.scanner.scan('fake')
  await second.clock.advance(10)
  expect(second.told).toContain('known')
  second.told.length = 0
  await second.scanner.scan('fake')
  await second.clock.advance(10)
  expect(second.told).toEqual([])
})

test('an end told while a look is under way is not undone by what that look saw', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  const { incarnation = 0, nonce = '' } = one.entry()?.record ?? {}
  one.looking.before = () => {
    one.looking.before = () => {}
    one.control.exit(ID, { signal: 'SIGKILL', quiet: true })
    one.instances.ended(ID, { incarnation, nonce, exit: { code: null, signal: 'SIGKILL', oom: false, atMs: 1 } })
  }
  one.instances.lookAgain(ID)
  await one.clock.advance(100)
  expect(one.entry()?.record).toMatchObject({ incarnation: 2, phase: { kind: 'running' } })
})

test('SEE-6 a converged fleet is quiet: ten scans of 100 instances log nothing above debug', async () => {
  const one = agent()
  one.instances.setDesired(
    Array.from({ length: 100 }, (_, index) => desired({}, InstanceId.parse(`inst_${String(index).padStart(20, '0')}`))),
  )
  await one.clock.advance(20_000)
  one.logs.length = 0
  for (let round = 0; round < 10; round += 1) {
    await one.scanner.scan('fake')
    await one.clock.advance(60_000)
  }
  expect(one.logs.filter((line) => line.level !== 'debug')).toEqual([])
})
