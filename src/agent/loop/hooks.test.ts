import { expect, test } from 'vitest'
import { desired } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import type { Phase, PhaseKind } from '../../contracts/phase.ts'
import { newRecord } from '../model/record.ts'
import { Hooks } from './hooks.ts'

const id = (number: number) => InstanceId.parse(`inst_${String(number).padStart(20, '0')}`)
const record = (number = 1) => newRecord(desired({ labels: { tier: 'front' } }, id(number)), 0)
const step = (from: PhaseKind, kind: PhaseKind): Transition => ({
  seq: 1,
  atMs: 0,
  from,
  to: { kind, reason: 'requested', sinceMs: 0, attempt: 0, lastError: null } as Phase,
  incarnation: 3,
  exit: null,
})
const LIFE = [step('placed', 'preparing'), step('starting', 'running'), step('stopping', 'stopped')]

interface Run {
  readonly line: { readonly hook: string; readonly instance_id: string }
  readonly signal: AbortSignal
  readonly end: (answer: Result<number, Failure>) => void
}

function bench(given: { readonly queueMax?: number; readonly answer?: () => Promise<Result<number, Failure>> } = {}) {
  const clock = new ManualClock()
  const runs: Run[] = []
  const logs: string[] = []
  const counts = new Map<string, number>()
  const say = (msg: string, fields?: object) => void logs.push(`${msg} ${Object.values(fields ?? {}).join(' ')}`)
  const hooks = new Hooks({
    clock,
    log: { debug() {}, info() {}, warn: say, error: say },
    meter: {
      count: (_, labels) => {
        const key = `${labels?.hook} ${labels?.outcome}`
        counts.set(key, (counts.get(key) ?? 0) + 1)
      },
      observe() {},
      gauge() {},
    },
    nodeId: 'node-a',
    concurrencyMax: 2,
    queueMax: given.queueMax ?? 100,
    program: {
      timeoutMs: 5000,
      run: (text, signal) => {
        const { promise, resolve } = Promise.withResolvers<Result<number, Failure>>()
        runs.push({ line: JSON.parse(text), signal, end: resolve })
        return given.answer?.() ?? promise
      },
    },
  })
  const names = () => runs.map(({ line }) => `${Number(line.instance_id.slice(5))} ${line.hook}`)
  return { clock, hooks, runs, names, logs, counts }
}

test('T42: one line of JSON with who, what, why and when; those of one instance one after the other, in order', async () => {
  const { clock, hooks, runs, names, counts } = bench()
  hooks.tell(record(), LIFE)
  expect(names()).toEqual(['1 created'])
  expect(runs[0]?.line).toEqual({
    hook: 'created',
    instance_id: id(1),
    name: 'web',
    org_id: record().desired.orgId,
    node_id: 'node-a',
    labels: { tier: 'front' },
    incarnation: 3,
    state: 'preparing',
    reason: 'requested',
    error: null,
    at: '1970-01-01T00:00:00.000Z',
  })
  // What comes while one runs waits behind those before it.
  hooks.tell(record(), [step('stopped', 'deleted')])
  expect(names()).toEqual(['1 created'])
  for (const _ of [...LIFE, 'deleted']) {
    runs.at(-1)?.end(ok(0))
    await clock.advance(1)
  }
  expect(names()).toEqual(['1 created', '1 started', '1 stopped', '1 deleted'])
  expect([...counts]).toEqual([
    ['created ok', 1],
    ['started ok', 1],
    ['stopped ok', 1],
    ['deleted ok', 1],
  ])
})

test('T42: one that hangs is ended at its deadline, and holds up only its own instance meanwhile', async () => {
  const { clock, hooks, runs, names, counts, logs } = bench()
  hooks.tell(record(1), LIFE)
  hooks.tell(record(2), LIFE)
  hooks.tell(record(3), LIFE)
  expect(names()).toEqual(['1 created', '2 created'])
  for (let round = 0; round < 6; round += 1) {
    const last = runs.at(-1)
    if (last?.line.instance_id !== id(1)) last?.end(ok(0))
    await clock.advance(1)
  }
  expect(
    names()
      .slice(1)
      .every((name) => !name.startsWith('1 ')),
  ).toBe(true)
  expect(runs).toHaveLength(7)
  await clock.advance(5000)
  expect([runs[0]?.signal.aborted, counts.get('created timeout')]).toEqual([true, 1])
  expect(logs.filter((line) => line.startsWith('hook failed'))).toHaveLength(1)
  expect(names().at(-1)).toBe('1 started')
})

test.each([
  ['throws', () => Promise.reject(new Error('bang'))],
  ['ends with another code', async () => ok(3)],
])('T42: one that %s is counted and logged, and the next one goes on', async (_, answer) => {
  const { clock, hooks, names, counts, logs } = bench({ answer })
  hooks.tell(record(), LIFE)
  await clock.advance(1)
  expect(names()).toEqual(['1 created', '1 started', '1 stopped'])
  expect([...counts.keys()]).toEqual(['created failed', 'started failed', 'stopped failed'])
  expect(logs).toHaveLength(3)
})

test('a full line drops what comes, counts it, and says so once until there is room again', async () => {
  const { clock, hooks, runs, counts, logs } = bench({ queueMax: 3 })
  for (let number = 1; number <= 9; number += 1) hooks.tell(record(number), LIFE)
  const dropped = () => [...counts].filter(([key]) => key.endsWith('dropped')).reduce((all, [, count]) => all + count, 0)
  // Two run, three wait.
  expect([runs.length, dropped(), logs.length]).toEqual([2, 22, 1])
  for (const run of runs.slice()) run.end(ok(0))
  await clock.advance(1)
  for (const run of runs.slice()) run.end(ok(0))
  await clock.advance(1)
  for (let number = 10; number <= 19; number += 1) hooks.tell(record(number), LIFE)
  expect(logs).toHaveLength(2)
})

test('T37: closed: what is in line is dropped, what runs is ended, and nothing is told any more', async () => {
  const { clock, hooks, runs, names, logs } = bench()
  hooks.tell(record(), LIFE)
  hooks.close()
  expect(runs[0]?.signal.aborted).toBe(true)
  hooks.tell(record(2), LIFE)
  await clock.advance(10_000)
  expect([names(), logs]).toEqual([['1 created'], []])
})
