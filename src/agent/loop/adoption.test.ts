// What outlives an agent: adoption by the next one, a lost journal, the end of the node.
import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'

test('T35: HEAL-12 a second agent on the same journal and runtime adopts: nothing is restarted, an exit meanwhile is answered once', async () => {
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

test('C42: a wish older than what was adopted is none', async () => {
  const first = agent()
  first.instances.setDesired([desired({ generation: 5 })])
  await first.clock.advance(20_000)
  await first.instances.close()
  const last = first.kept.get(ID)?.lines.at(-1)
  if (!last) throw new Error('nothing was journalled')
  const second = agent({ driver: first.control.reopen(), control: first.control }, first.clock, first.kept)
  second.instances.adopt([{ last, transitions: [] }])
  await second.scanner.scan('fake')
  second.instances.setDesired([desired({ generation: 4, want: 'stopped' })])
  await second.clock.advance(2000)
  expect(second.entry()?.record).toMatchObject({ incarnation: 1, phase: { kind: 'running' }, desired: { generation: 5, want: 'running' } })
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

test('after the loss of a journal transitions are numbered above those already stored, and an old number acknowledges no deletion', async () => {
  const one = agent()
  one.instances.setDesired([desired({ want: 'deleted' })])
  one.instances.acked(ID, 40)
  await one.clock.advance(100)
  expect(one.kind()).toBe('deleted')
  expect(one.instances.observed(ID)?.transitions.map(({ seq }) => seq)).toEqual([41, 42])
  one.instances.acked(ID, 42)
  await one.clock.advance(10)
  expect(one.instances.entries.size).toBe(0)
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

test('an end of another object of the same number is looked into, not believed', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  const { incarnation = 0 } = one.entry()?.record ?? {}
  one.instances.ended(ID, { incarnation, nonce: 'another', exit: { code: 1, signal: null, oom: false, atMs: 1 } })
  await one.clock.advance(100)
  expect(one.entry()?.record).toMatchObject({ incarnation, phase: { kind: 'running' } })
  expect(one.logs.map(({ msg }) => msg)).not.toContain('orphaned vm detected')
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
