import { expect, test } from 'vitest'
import { envOf, instanceId, orgId } from '../../../tests/support/control-records.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { err, ok } from '../../base/result.ts'
import { seededRandom } from '../../base/seeded-random.ts'
import { type ErrorCode, type Failure, failure } from '../../contracts/errors.ts'
import { EnvId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { ClaimedHeal } from '../model/heal.ts'
import { LOOPS_DEFAULTS } from './deps.ts'
import { Faults } from './faults.ts'
import { healerLoop } from './healer-loop.ts'
import { rolloutLoop } from './rollout-loop.ts'
import type { Turn } from './runner.ts'

const { signal } = new AbortController()
const fails = (code: ErrorCode) => err(failure(code, 'not now'))

function stage() {
  const counted: string[] = []
  const meter: Meter = { count: (name, labels) => void counted.push(`${name} ${labels?.code}`), observe() {}, gauge() {} }
  const log = new RecordingLog()
  const clock = new ManualClock()
  return { counted, log, clock, deps: { clock, random: seededRandom(1), log, meter, config: LOOPS_DEFAULTS } }
}

test('an env that always fails holds up no other, is counted each time and told once', async () => {
  const { deps, counted, log } = stage()
  const envs = ['a', 'b', 'c'].map((env, index) =>
    envOf({}, { env, id: EnvId.parse(`env_${String(index).padStart(20, '0')}`), deleting: true }),
  )
  const asked: string[] = []
  const unused = () => Promise.resolve(fails('not_found'))
  const listEnvInstances = async (id: EnvId) => {
    asked.push(envs.find((env) => env.id === id)?.env ?? '')
    if (id === envs[0]?.id) return fails('internal')
    if (id === envs[1]?.id) throw new Error('a bug')
    return ok([])
  }
  const read = { allEnvs: async () => ok(envs), findEnv: unused, getInstance: async () => ok(null), listEnvInstances }
  const loop = rolloutLoop({ ...deps, store: { read } })
  let outcome: ErrorCode = 'name_taken'
  const turn: Turn = { changes: null, signal, write: async () => fails(outcome) }
  for (let passes = 0; passes < 2; passes += 1)
    expect(await loop.pass(turn)).toEqual(ok({ againMs: null, failing: '2 of its items fail: internal' }))
  expect(asked).toEqual(['a', 'b', 'c', 'a', 'b', 'c'])
  expect(counted).toEqual(Array.from({ length: 4 }, () => 'errors_total internal'))
  expect(log.said().filter((line) => line === 'error loop item failed')).toHaveLength(2)
  for (const ends of ['lease_lost', 'store_unavailable'] as const) {
    outcome = ends
    expect(await loop.pass(turn)).toMatchObject(fails(ends))
  }
})

test('an instance that cannot be healed holds up no other of its batch; a lost lease ends the pass', async () => {
  const { deps, counted } = stage()
  const works = [1, 2, 3, 4].map(
    (number): ClaimedHeal => ({
      instanceId: instanceId(number),
      orgId: orgId(1),
      generation: 1,
      givenUp: false,
      dueAtMs: 0,
      attempts: 0,
      reason: 'start_failed',
      lastError: null,
      createdAtMs: 0,
      lease: 'mine',
    }),
  )
  const read = { allNodes: async () => ok([]), listHealable: async () => ok([]), nextHealDueMs: async () => ok(null) }
  const loop = healerLoop({ ...deps, store: { claimHeals: async () => ok(works), read } })
  const passOf = async (outcomes: readonly ErrorCode[]) => {
    let written = 0
    const write: Turn['write'] = async () => fails(outcomes[written++] ?? 'version_conflict')
    const done = await loop.pass({ changes: null, signal, write })
    return { done, written }
  }
  expect(await passOf(['internal', 'version_conflict', 'wrong_state'])).toMatchObject({
    done: { ok: true, value: { failing: expect.stringMatching(/^2 of its items fail/) } },
    written: 4,
  })
  expect(counted).toHaveLength(2)
  expect(await passOf(['internal', 'lease_lost'])).toMatchObject({ done: fails('lease_lost'), written: 2 })
})

test('what works again is told, and what is gone is forgotten in time', async () => {
  const { deps, clock, log } = stage()
  const faults = new Faults(deps, 'healer')
  const outcomes = new Map<string, Failure | null>([
    ['a', failure('internal', 'x')],
    ['b', failure('internal', 'y')],
  ])
  const pass = (names: readonly string[]) =>
    faults.each(
      names,
      signal,
      (name) => ({ name }),
      async (name) => {
        const bad = outcomes.get(name)
        return bad ? err(bad) : ok(undefined)
      },
    )
  await pass(['a', 'b'])
  outcomes.set('a', null)
  await pass(['a', 'b'])
  expect(faults.detail()).toBe('1 of its items fail: internal')
  expect(log.said()).toEqual(['error loop item failed', 'error loop item failed', 'info loop item works again'])
  await clock.advance(600_001)
  expect(faults.detail()).toBeNull()
})
