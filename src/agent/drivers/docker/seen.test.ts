import { describe, expect, test } from 'vitest'
import { InstanceId } from '../../../contracts/ids.ts'
import type { Mark, MarkedPort } from './marks.ts'
import { readMark } from './marks.ts'
import { Inspected } from './schemas.ts'
import { type Around, exitOf, seenOf, timeOf } from './seen.ts'

const NEVER = '0001-01-01T00:00:00Z'
const state = (change: object = {}): Inspected['State'] => container({ State: { ...RUNNING, ...change } }).State
const RUNNING = {
  Status: 'running',
  Running: true,
  Paused: false,
  OOMKilled: false,
  Pid: 4711,
  ExitCode: 0,
  Error: '',
  StartedAt: '2026-01-01T00:00:00.5Z',
  FinishedAt: NEVER,
}
const EXITED = { ...RUNNING, Status: 'exited', Running: false, Pid: 0, FinishedAt: '2026-01-01T00:01:00Z' }
const container = (change: object = {}): Inspected =>
  Inspected.parse({ Id: 'c0ffee', Name: '/holdfast-x-1', State: RUNNING, Config: { Labels: null }, ...change })
const mark = (ports: readonly MarkedPort[] = []): Mark => ({
  id: InstanceId.parse('inst_00000000000000000000'),
  incarnation: 1,
  nonce: 'n',
  ports,
  cloudInit: false,
})
const around: Around = { matches: true, cloudInit: null, oomAtMs: null, startedBefore: null, processOf: () => undefined }
const finishedMs = Date.parse(EXITED.FinishedAt)

describe('fact: a stopped container has pid 0', () => {
  test.each([0, 1])('an engine that names pid %i gives no pid to signal, whatever it says about running', (pid) => {
    for (const running of [true, false]) {
      const seen = seenOf(container({ State: { ...RUNNING, Running: running, Pid: pid } }), mark(), around)
      expect([seen.pid, seen.startTime]).toEqual([null, null])
    }
  })
  test('a dead one has no pid even when the engine still names its old one', () => {
    const seen = seenOf(container({ State: { ...EXITED, Pid: 4711 } }), mark(), around)
    expect([seen.state, seen.pid]).toEqual(['dead', null])
  })
})

test('pid and start time name the process; where /proc cannot tell, the engine`s start time does', () => {
  expect(seenOf(container(), mark(), around)).toMatchObject({ pid: 4711, startTime: RUNNING.StartedAt })
  expect(seenOf(container(), mark(), { ...around, processOf: () => ({ startTime: '99', zombie: false }) }).startTime).toBe('99')
})

test.each([
  [{ Status: 'created', Running: false, Pid: 0 }, 'created'],
  [{}, 'running'],
  [{ Status: 'paused', Paused: true }, 'paused'],
  [{ Status: 'exited', Running: false }, 'dead'],
  [{ Status: 'dead', Running: false }, 'dead'],
  [{ Status: 'removing', Running: false }, 'dead'],
])('the engine`s %j is %s', (change, want) => {
  expect(seenOf(container({ State: { ...RUNNING, ...change } }), mark(), around).state).toBe(want)
})

describe('exit', () => {
  test.each([
    [0, { code: 0, signal: null, oom: false }],
    [3, { code: 3, signal: null, oom: false }],
    [127, { code: 127, signal: null, oom: false }],
    [137, { code: null, signal: 'SIGKILL', oom: false }],
    [143, { code: null, signal: 'SIGTERM', oom: false }],
    [255, { code: 255, signal: null, oom: false }],
  ])('code %i', (code, want) => {
    expect(exitOf(state({ ...EXITED, ExitCode: code }), null)).toEqual({ ...want, atMs: finishedMs })
  })
  test('one that was made and never ran has no exit', () => {
    expect(exitOf(state({ Status: 'created', Running: false }), null)).toBe(null)
  })
  test.each([
    ['killed, and the engine says so', { OOMKilled: true, ExitCode: 137 }, null, true],
    ['killed right after the event', { ExitCode: 137 }, finishedMs - 5, true],
    ['the parent ended by itself right after its child was killed', { OOMKilled: true, ExitCode: 5 }, finishedMs - 30, true],
    ['a child was killed long before somebody killed the parent', { OOMKilled: true, ExitCode: 137 }, finishedMs - 20_000, false],
    ['a child was killed long before the parent ended', { OOMKilled: true, ExitCode: 6 }, finishedMs - 3000, false],
    ['a child was killed at an unknown time, the parent ended by itself', { OOMKilled: true, ExitCode: 6 }, null, false],
    ['it ended well after all', { OOMKilled: true, ExitCode: 0 }, finishedMs - 5, false],
    ['nothing of the kind', { ExitCode: 137 }, null, false],
  ])('memory limit exceeded: %s', (_, change, oomAtMs, want) => {
    expect(exitOf(state({ ...EXITED, ...change }), oomAtMs)?.oom).toBe(want)
  })
})

test('a child killed for memory while the parent lives is a note and no exit', () => {
  const seen = seenOf(container(), mark(), { ...around, oomAtMs: Date.parse(RUNNING.StartedAt) + 10 })
  expect([seen.exit, seen.notes.length]).toEqual([null, 1])
})

test('a kill for memory in an earlier run of the same container is forgotten', () => {
  expect(seenOf(container(), mark(), { ...around, oomAtMs: Date.parse(RUNNING.StartedAt) - 10 }).notes).toEqual([])
})

test('a restart by somebody else is told', () => {
  expect(seenOf(container(), mark(), { ...around, startedBefore: '2025-12-31T00:00:00Z' }).notes[0]).toContain('restarted by somebody else')
})

test('addresses carry the names and numbers asked for, and the ports the engine chose', () => {
  const ports: MarkedPort[] = [
    { name: 'web', protocol: 'tcp', internal: 80, host: 8080 },
    { name: 'admin', protocol: 'tcp', internal: 80, host: 0 },
    { name: 'dns', protocol: 'udp', internal: 53, host: 0 },
    { name: 'gone', protocol: 'tcp', internal: 9, host: 0 },
  ]
  const Ports = {
    '80/tcp': [
      { HostIp: '127.0.0.1', HostPort: '40001' },
      { HostIp: '0.0.0.0', HostPort: '8080' },
    ],
    '53/udp': [{ HostIp: '127.0.0.1', HostPort: '40002' }],
    '9/tcp': null,
  }
  const seen = seenOf(container({ NetworkSettings: { Ports } }), mark(ports), around)
  expect(seen.addresses.map(({ name, protocol, internal, port }) => [name, protocol, internal, port])).toEqual([
    ['web', 'tcp', 80, 8080],
    ['admin', 'tcp', 80, 40_001],
    ['dns', 'udp', 53, 40_002],
  ])
})

test('the engine`s year 1 is no time', () => {
  expect([timeOf(NEVER), timeOf('x'), timeOf('2026-01-01T00:00:00.123456789Z')]).toEqual([
    null,
    null,
    Date.parse('2026-01-01T00:00:00.123Z'),
  ])
})

test.each([
  [{}],
  [{ 'holdfast.io/instance': '../../etc', 'holdfast.io/incarnation': '1', 'holdfast.io/nonce': 'n' }],
  [{ 'holdfast.io/instance': 'inst_00000000000000000000', 'holdfast.io/incarnation': 'x', 'holdfast.io/nonce': 'n' }],
])('labels that are not whole are nobody`s: %j', (labels) => {
  expect(readMark(labels)).toBe(undefined)
})
