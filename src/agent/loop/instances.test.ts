import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'
import { failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { LIMITS } from '../limits.ts'
import { lookAtAll } from '../observe/look.ts'

test('a wish becomes a running, verified instance; its transitions are numbered without gaps', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(1500)
  expect(one.entry()?.record).toMatchObject({ incarnation: 1, verified: true, phase: { kind: 'running' } })
  const seqs = one.instances.observed(ID)?.transitions.map((transition) => transition.seq)
  expect(seqs).toEqual(seqs?.map((_, index) => index + 1))
  expect(one.ledger.reservedMemoryBytes).toBe(desired().spec.memoryBytes)
})

test('T12: HEAL-2 an exit event alone leads to a new incarnation, without a scan', async () => {
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

test('detection is timed from the event that told of the end, not from an earlier one that meant nothing', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  one.instances.lookAgain(ID)
  expect(one.entry()?.eventAtMs).not.toBeNull()
  await one.clock.advance(10)
  expect(one.entry()?.eventAtMs).toBeNull()
})

test('T12: a lost exit event is found by the scan', async () => {
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

test('T25: a listing that began before a restart does not undo it', async () => {
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

test('C53: HEAL-3 an unreachable runtime and a partial listing restart nothing', async () => {
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

test('T28: a stop during a hanging start aborts it; nothing runs afterwards', async () => {
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

test('T30: a start that hangs ends in start_timeout and holds no other instance up', async () => {
  const one = agent()
  const other = InstanceId.parse('inst_00000000000000000002')
  one.control.hangNext('start')
  one.instances.setDesired([desired(), desired({}, other)])
  await one.clock.advance(200)
  expect(one.instances.entries.get(other)?.record.phase.kind).toBe('running')
  await one.clock.advance(LIMITS.startDeadlineMs + 2000)
  expect(one.entry()?.record.phase).toMatchObject({ kind: 'failed', lastError: { code: 'start_timeout' } })
})

test('T36: a full disk stops every further step, says so, and goes on when there is room', async () => {
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

test('on a full disk what is wished stopped is stopped and told, and written down when there is room', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(2000)
  const file = one.kept.get(ID) ?? { lines: [], refuse: null }
  file.refuse = failure('disk_full', 'no space left')
  one.instances.setDesired([desired({ generation: 2, want: 'stopped' })])
  await one.clock.advance(500)
  expect(one.control.live(ID)).toHaveLength(0)
  expect(one.instances.observed(ID)).toMatchObject({ generation: 2, phase: { kind: 'stopped' } })
  expect(file.lines.at(-1)?.record.phase.kind).toBe('running')
  file.refuse = null
  await one.clock.advance(3000)
  expect(file.lines.at(-1)?.record).toMatchObject({ desired: { want: 'stopped' }, phase: { kind: 'stopped' } })
})

test('on a full disk a deletion frees what it can before it is final; final it is only on disk', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(2000)
  const file = one.kept.get(ID) ?? { lines: [], refuse: null }
  file.refuse = failure('disk_full', 'no space left')
  one.instances.setDesired([desired({ generation: 2, want: 'deleted' })])
  await one.clock.advance(500)
  expect(one.control.world.objects.filter((object) => !object.removed)).toEqual([])
  expect(one.kind()).toBe('stopping')
  file.refuse = null
  await one.clock.advance(3000)
  expect(one.kind()).toBe('deleted')
})

test('C42: an old wish never wins, and the same wish twice acts once', async () => {
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

test('B35: deleted: objects removed, files go only after the control plane stored it', async () => {
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

test('C57: SEE-6 a converged fleet is quiet: ten scans of 100 instances log nothing above debug', async () => {
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
