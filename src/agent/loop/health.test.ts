import { describe, expect, test } from 'vitest'
import { specOf } from '../../../tests/support/control-records.ts'
import { desiredOf } from '../../../tests/support/desired.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import type { LogFields } from '../../base/log.ts'
import { DEFAULT_RELIABILITY } from '../../contracts/reliability.ts'
import type { Measured, Measurement, Subject } from '../model/check.ts'
import { newRecord } from '../model/record.ts'
import { type Entry, newEntry } from './entry.ts'
import { createHealthKeeper, type HealthDeps } from './health.ts'

const { id: ID } = desiredOf()
const PASS: Measurement = { kind: 'pass', detail: 'ok', durationMs: 2 }
const FAIL: Measurement = { kind: 'fail', reason: 'bad_status', detail: 'answered 500', durationMs: 2 }

function running(incarnation = 1): Entry {
  const spec = specOf({ command: ['x'], ports: [{ internal: 80 }], health: [{ type: 'http', port: 80, kind: 'live' }] })
  const phase = { kind: 'running', reason: 'started', sinceMs: 0, attempt: 1, lastError: null } as const
  const entry = newEntry({ ...newRecord(desiredOf({ spec }), 0), phase, incarnation, nonce: 'n', startedAtMs: 5 }, [])
  entry.sight = {
    kind: 'known',
    objects: [
      {
        id: ID,
        incarnation,
        nonce: 'n',
        state: 'running',
        pid: 7,
        startTime: '1',
        exit: null,
        addresses: [{ name: 'p80', protocol: 'tcp', internal: 80, host: '127.0.0.1', port: 80 }],
        startedAtMs: 5,
        notes: [],
        cloudInit: null,
        matches: true,
      },
    ],
  }
  return entry
}

function setup(given: Partial<HealthDeps> = {}) {
  const entry = running()
  const counts = new Map<string, number>()
  const lines: { level: string; msg: string; fields: LogFields | undefined }[] = []
  const at = (level: string) => (msg: string, fields?: LogFields) => void lines.push({ level, msg, fields })
  const asked: string[] = []
  const subjects: Subject[] = []
  const keeper = createHealthKeeper({
    clock: new ManualClock(),
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    meter: {
      count: (name, labels) =>
        void counts.set(
          `${name} ${Object.values(labels ?? {}).join(' ')}`,
          (counts.get(`${name} ${Object.values(labels ?? {}).join(' ')}`) ?? 0) + 1,
        ),
      observe() {},
      gauge() {},
    },
    checking: () => true,
    config: DEFAULT_RELIABILITY.healthCheck,
    entry: () => entry,
    watch: (subject) => void subjects.push(subject),
    unwatch: () => void asked.push('unwatch'),
    changed: () => void asked.push('changed'),
    nudge: () => void asked.push('nudge'),
    lookAgain: () => void asked.push('look'),
    ...given,
  })
  const measured = (measurement: Measurement, change: Partial<Measured> = {}) =>
    keeper.measured({ id: ID, incarnation: 1, index: 1, atMs: 0, ageMs: 1e6, wokenLate: false, measurement, ...change })
  return { entry, keeper, counts, lines, asked, subjects, measured }
}

describe('the health keeper', () => {
  test('T04: a living instance is watched once per incarnation and address; others are not', () => {
    const { entry, keeper, subjects, asked } = setup()
    keeper.follow(entry)
    keeper.follow(entry)
    expect(subjects).toEqual([
      expect.objectContaining({ id: ID, incarnation: 1, nonce: 'n', startedAtMs: 5, addresses: [expect.objectContaining({ port: 80 })] }),
    ])
    expect(entry.standings.map(({ name }) => name)).toEqual(['engine', 'http 80/'])
    entry.record = { ...entry.record, phase: { kind: 'paused', reason: 'requested', sinceMs: 0, attempt: 1, lastError: null } }
    keeper.follow(entry)
    keeper.follow(entry)
    expect(asked).toEqual(['unwatch'])
    expect([entry.standings, entry.verdict.health]).toEqual([[], 'unknown'])
  })

  test('T01: switched off, nothing is watched and the verdict stays unknown', () => {
    const { entry, keeper, subjects, measured } = setup({ checking: () => false })
    keeper.follow(entry)
    measured(FAIL)
    expect([subjects, entry.verdict.health]).toEqual([[], 'unknown'])
  })

  test('T06: three failures make one change to unhealthy, and each is counted and told with its number', () => {
    const { entry, keeper, measured, counts, lines } = setup()
    keeper.follow(entry)
    measured(PASS)
    measured(PASS, { index: 0 })
    expect(entry.verdict.health).toBe('healthy')
    const words = [1, 2, 3, 4].map(() => {
      measured(FAIL)
      return entry.verdict.health
    })
    expect(words).toEqual(['healthy', 'healthy', 'unhealthy', 'unhealthy'])
    expect(Object.fromEntries(counts)).toEqual({
      'vm_health_checks_total process': 6,
      'vm_health_check_failures_total process': 4,
      'vm_health_check_failures_by_reason_total process bad_status': 4,
    })
    expect(lines.map(({ level, msg, fields }) => [level, msg, fields?.failure_count])).toEqual(
      [1, 2, 3, 4].map((n) => ['warn', 'vm health check failed', n]),
    )
    const { desired, incarnation } = entry.record
    const ids = { vm_id: desired.id, instance_id: desired.id, name: desired.name, incarnation }
    expect(lines.filter(({ fields }) => Object.entries(ids).some(([key, value]) => fields?.[key] !== value))).toEqual([])
  })

  test('a steady state wakes nobody; a change of it wakes planner and reporter once', () => {
    const { entry, keeper, measured, asked } = setup()
    keeper.follow(entry)
    measured(PASS)
    measured(PASS, { index: 0 })
    asked.length = 0
    for (let n = 0; n < 10; n += 1) measured(PASS)
    expect(asked).toEqual([])
    measured(FAIL)
    expect(asked).toEqual(['changed', 'nudge'])
  })

  test('T10: a result of another incarnation, of an unwatched instance or of none changes nothing', () => {
    const { entry, keeper, measured, counts, asked } = setup()
    measured(FAIL)
    keeper.follow(entry)
    measured(FAIL, { incarnation: 2 })
    measured(FAIL, { incarnation: 0 })
    expect([counts.size, asked.length, entry.standings[1]?.failuresInRow]).toEqual([0, 0, 0])
  })

  test('B32: what does not count is neither counted nor warned about', () => {
    const { entry, keeper, measured, counts, lines } = setup()
    keeper.follow(entry)
    measured(FAIL, { ageMs: 10 })
    measured({ kind: 'inconclusive', detail: 'the agent slept', durationMs: 2 })
    expect(counts.size).toBe(0)
    expect(lines.every(({ level }) => level === 'debug')).toBe(true)
  })

  test.each(['process_dead', 'process_mismatch'] as const)('an engine that says %s makes us look at once: its event got lost', (reason) => {
    const { entry, keeper, measured, asked } = setup()
    keeper.follow(entry)
    measured({ kind: 'fail', reason, detail: 'gone', durationMs: 1 }, { index: 0 })
    expect(asked).toContain('look')
  })

  test('a restarted agent does not ask a verified incarnation to prove its start again', () => {
    const { entry, keeper, subjects } = setup()
    entry.record = { ...entry.record, verified: true }
    keeper.follow(entry)
    expect(subjects.map(({ proven }) => proven)).toEqual([true])
  })

  test('a new incarnation begins with nothing proven', () => {
    const { entry, keeper, measured, subjects } = setup()
    keeper.follow(entry)
    for (let n = 0; n < 3; n += 1) measured(FAIL)
    expect(entry.verdict.health).toBe('unhealthy')
    Object.assign(entry, { record: running(2).record, sight: running(2).sight })
    keeper.follow(entry)
    expect(subjects.map(({ incarnation }) => incarnation)).toEqual([1, 2])
    expect([entry.verdict.health, entry.standings[1]?.failuresInRow]).toEqual(['starting', 0])
  })

  test.each(['stopping', 'paused'] as const)(
    'T38: watched again after it was %s, and nothing that was measured meanwhile counts',
    (kind) => {
      const { entry, keeper, measured, counts, subjects, asked } = setup()
      keeper.follow(entry)
      const { record } = entry
      const away = kind === 'paused' ? { kind } : { kind, towards: 'restart' as const }
      entry.record = { ...record, phase: { ...record.phase, ...away } }
      keeper.follow(entry)
      for (let n = 0; n < 3; n += 1) measured(FAIL)
      expect([asked, counts.size, entry.verdict.health]).toEqual([['unwatch'], 0, 'unknown'])
      Object.assign(entry, kind === 'paused' ? { record } : { record: running(2).record, sight: running(2).sight })
      keeper.follow(entry)
      expect(subjects).toHaveLength(2)
      expect(entry.standings.map(({ failuresInRow }) => failuresInRow)).toEqual([0, 0])
    },
  )
})
