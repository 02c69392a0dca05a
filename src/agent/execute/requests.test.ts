import { expect, test } from 'vitest'
import { desired, ID } from '../../../tests/support/agent-world.ts'
import { ManualClock, settle } from '../../../tests/support/manual-clock.ts'
import { memoryResidue } from '../../../tests/support/memory-residue.ts'
import type { AgentRequest } from '../../contracts/agent-protocol.ts'
import { fakeCommand, must, plainSpec } from '../drivers/conformance-kit.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'
import { type InstanceRecord, newRecord } from '../model/record.ts'
import { answer } from './requests.ts'

const common = { reason: 'requested', sinceMs: 0, attempt: 0, lastError: null } as const
const preparing: Partial<InstanceRecord> = { phase: { kind: 'preparing', ...common }, incarnation: 1, nonce: 'n1' }

function setUp(change: Partial<InstanceRecord>) {
  const clock = new ManualClock()
  const { driver, control } = createFakeDriver({ clock })
  const state: { record: InstanceRecord | undefined } = { record: { ...newRecord(desired(), 0), ...change } }
  const stopper = new AbortController()
  const output: string[] = []
  const ask = (more: Partial<Extract<AgentRequest, { op: 'logs' }>> = {}) => {
    const end: { told: Awaited<ReturnType<typeof answer>> | null } = { told: null }
    void answer(
      {
        clock,
        limits: { statsDeadlineMs: 1000 },
        drivers: new Map([['fake', driver]]),
        record: () => state.record,
        evidence: memoryResidue().evidence,
        collectGarbage: async () => ({ candidates: [], collected: [], notes: [] }),
      },
      { op: 'logs', instanceId: ID, follow: true, previous: false, tailLines: null, sinceMs: null, ...more },
      async ({ data }) => void output.push(Buffer.from(data, 'base64').toString()),
      stopper.signal,
    ).then((told) => {
      end.told = told
    })
    return end
  }
  const become = (next: Partial<InstanceRecord>) => {
    state.record = state.record && { ...state.record, ...next }
  }
  const run = async (incarnation: number) => {
    const command = fakeCommand({ kind: 'print', stdout: Buffer.from(`run ${incarnation}\n`), stderr: Buffer.alloc(0) })
    const target = { id: ID, incarnation, nonce: `n${incarnation}` }
    const want = { ...target, name: 'web', spec: plainSpec('fake', command), labels: {}, hostPorts: [], platformEnv: {} }
    must(await driver.start(want, stopper.signal))
    become({ phase: { kind: 'running', ...common }, incarnation, nonce: target.nonce })
  }
  return { clock, control, state, stopper, output, ask, become, run }
}

test.each([
  ['placed', { phase: { kind: 'placed', ...common } }],
  ['preparing', preparing],
  ['starting', { ...preparing, phase: { kind: 'starting', ...common } }],
] as const)('who follows an instance that is %s waits for its first output', async (_kind, before) => {
  const { clock, control, output, ask, become, run } = setUp(before)
  const end = ask()
  await clock.advance(60_000)
  become(preparing)
  await clock.advance(60_000)
  expect(end.told).toBe(null)
  await run(1)
  await clock.advance(1000)
  expect(output).toEqual(['run 1\n'])
  control.exit(ID)
  await settle()
  expect(end.told).toMatchObject({ error: null, lostBytes: 0, incarnation: 1 })
})

test('who does not follow is told at once that there is nothing yet', async () => {
  const { ask } = setUp(preparing)
  const end = ask({ follow: false })
  await settle()
  expect(end.told).toMatchObject({ error: { code: 'not_found' } })
})

test.each([
  ['is tried again', { phase: { kind: 'recovering', ...common, nextAttemptAtMs: 9 } }],
  ['has been tried again', { ...preparing, incarnation: 2, nonce: 'n2' }],
] as const)('a start that failed and %s has no output and ends as one: the follower goes on with the next', async (_how, next) => {
  const { clock, ask, become } = setUp(preparing)
  const end = ask()
  become(next)
  await clock.advance(1000)
  expect(end.told).toMatchObject({ error: null, lostBytes: 0, incarnation: 1 })
})

test('a start that failed for good has no output, and that is said', async () => {
  const { clock, ask, become } = setUp(preparing)
  const end = ask()
  become({ phase: { kind: 'failed', ...common } })
  await clock.advance(1000)
  expect(end.told).toMatchObject({ error: { code: 'not_found' } })
})

test('waiting ends with the instance, and when nobody waits any more', async () => {
  const gone = setUp(preparing)
  const end = gone.ask()
  gone.state.record = undefined
  await gone.clock.advance(1000)
  expect(end.told).toMatchObject({ error: { code: 'not_found' } })
  const left = setUp(preparing)
  const ended = left.ask()
  left.stopper.abort()
  await settle()
  expect(ended.told).not.toBe(null)
  expect(left.clock.timers).toBe(0)
})
