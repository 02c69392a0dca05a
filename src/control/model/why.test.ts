// Golden texts: what a person reads at three in the morning, one per state and cause. A change of wording is a change here.
import { expect, test } from 'vitest'
import { instanceId, instanceOf, membershipOf, nodeId, nodeOf, orgId, phaseOf, specOf } from '../../../tests/support/control-records.ts'
import { failure } from '../../contracts/errors.ts'
import { type Attempt, PHASE_KINDS, type Phase } from '../../contracts/phase.ts'
import type { HealRecord } from './heal.ts'
import { type InstanceRecord, NOTHING_OBSERVED, type ObservedRest } from './instance.ts'
import { explain, type WhyFacts } from './why.ts'

const NOW = Date.parse('2026-03-01T03:00:00Z')
const S = 1000
const exit = (code: number | null, signal: string | null = null, oom = false) => ({ code, signal, oom, atMs: NOW - 20 * S })
const error = (code: NonNullable<Phase['lastError']>['code'], detail: string) => ({ code, detail, atMs: NOW - 20 * S })
const common = { reason: 'requested' as const, sinceMs: NOW - 200 * S, attempt: 0, lastError: null }
const observed = (given: Partial<ObservedRest> = {}): ObservedRest => ({ ...NOTHING_OBSERVED, ...given })

function why(instance: Partial<InstanceRecord>, more: Partial<WhyFacts> = {}): string {
  const row = instanceOf({
    name: 'web',
    phase: phaseOf('pending', { ...common, reason: 'waiting_for_node' }),
    nodeId: nodeId('n1'),
    generation: 3,
    observedGeneration: 3,
    incarnation: 2,
    ...instance,
  })
  const node = row.nodeId === null ? null : nodeOf(row.nodeId, { lastSeenAtMs: NOW - S })
  const view = explain({ instance: row, node, heal: null, nodesKnown: 1, storeBlocked: null, nowMs: NOW, ...more })
  const lines = [view.summary, view.desired, view.observed, ...(view.difference === null ? [] : [view.difference]), `> ${view.next}`]
  return [...lines, ...(view.next_at === null ? [] : [`@ ${view.next_at}`])].join('\n')
}

const attempt = (reason: Attempt['reason'], incarnation = 2): Attempt => ({
  incarnation,
  attempt: 1,
  reason,
  trigger: 'automatic',
  by: null,
  dataLoss: false,
  startedAtMs: NOW - 19 * S,
  endedAtMs: NOW - 18 * S,
  outcome: 'success',
  error: null,
})

const heal = (given: Partial<HealRecord> = {}): HealRecord => ({
  instanceId: instanceId(1),
  orgId: orgId(1),
  generation: 3,
  givenUp: false,
  dueAtMs: NOW + 25 * S,
  attempts: 1,
  reason: 'failed',
  lastError: null,
  createdAtMs: NOW - 60 * S,
  ...given,
})

const silent = { node: nodeOf('n1', { connected: false, lastSeenAtMs: NOW - 42 * S }) }

const away = {
  node: nodeOf('n1', {
    facts: {
      runtimes: [
        { runtime: 'docker', usable: false, version: null, detail: 'The Docker Engine does not answer.', fix: null, limits: 'none' },
      ],
    },
  }),
}
const contained = specOf({ runtime: 'docker', image: 'app:1', memory: '64Mi' })

const CASES: [string, Partial<InstanceRecord>, Partial<WhyFacts>?][] = [
  ['pending, no node at all', { nodeId: null, incarnation: 0, observedGeneration: 0 }, { nodesKnown: 0 }],
  ['pending, not looked at yet', { nodeId: null, incarnation: 0, observedGeneration: 0 }],
  [
    'pending, one node without room',
    {
      nodeId: null,
      incarnation: 0,
      observedGeneration: 0,
      refusals: [{ nodeId: nodeId('n1'), refusedBy: 'memory', detail: 'needs 2Gi; 512Mi of 4Gi is not promised to others' }],
    },
  ],
  [
    'pending, three nodes',
    {
      nodeId: null,
      incarnation: 0,
      observedGeneration: 0,
      refusals: [
        { nodeId: nodeId('n1'), refusedBy: 'memory', detail: 'needs 2Gi; 1Gi of 4Gi is not promised to others' },
        { nodeId: nodeId('n2'), refusedBy: 'memory', detail: 'needs 2Gi; 0Gi of 4Gi is not promised to others' },
        { nodeId: nodeId('n3'), refusedBy: 'cordoned', detail: 'nothing new is placed on it until it is uncordoned' },
      ],
    },
    { nodesKnown: 3 },
  ],
  ['placed', { phase: phaseOf('placed', common), incarnation: 0, observedGeneration: 0 }],
  ['placed on a silent node', { phase: phaseOf('placed', common), incarnation: 0, observedGeneration: 0 }, silent],
  ['preparing', { phase: phaseOf('preparing', common), spec: specOf({ runtime: 'docker', image: 'nginx:1.27', memory: '64Mi' }) }],
  ['starting', { phase: phaseOf('starting', common) }],
  ['running and healthy', { phase: phaseOf('running', { ...common, reason: 'verified' }), observed: observed({ health: 'healthy' }) }],
  ['running, adopted', { phase: phaseOf('running', { ...common, reason: 'adopted' }), observed: observed({ health: 'healthy' }) }],
  [
    'running again after a kill',
    {
      phase: phaseOf('running', { ...common, reason: 'verified' }),
      observed: observed({ lastExit: exit(null, 'SIGKILL'), attempts: [attempt('process_dead')] }),
    },
  ],
  [
    'running again after a kill, not proven yet',
    {
      phase: phaseOf('running', { ...common, reason: 'waiting_for_checks' }),
      observed: observed({ lastExit: exit(3), attempts: [attempt('process_dead')] }),
    },
  ],
  [
    'starting again',
    { phase: phaseOf('starting', common), observed: observed({ lastExit: exit(3), attempts: [attempt('process_dead')] }) },
  ],
  [
    'running again after its checks failed',
    {
      phase: phaseOf('running', { ...common, reason: 'verified' }),
      observed: observed({ lastExit: exit(null, 'SIGKILL'), attempts: [attempt('unhealthy_restart')] }),
    },
  ],
  [
    'running after a wish: how it ended before is no news',
    {
      phase: phaseOf('running', { ...common, reason: 'verified' }),
      observed: observed({ lastExit: exit(null, 'SIGTERM'), attempts: [attempt('process_dead', 1), attempt('requested')] }),
    },
  ],
  [
    'running, not ready',
    {
      phase: phaseOf('running', { ...common, reason: 'waiting_for_checks' }),
      observed: observed({
        health: 'starting',
        checks: [
          {
            name: 'http /ready',
            kind: 'ready',
            passing: false,
            failuresInRow: 3,
            successesInRow: 0,
            lastDetail: 'connection refused',
            lastAtMs: NOW,
          },
        ],
      }),
    },
  ],
  [
    'running, unhealthy',
    {
      phase: phaseOf('running', common),
      observed: observed({
        health: 'unhealthy',
        checks: [
          {
            name: 'tcp 80',
            kind: 'live',
            passing: false,
            failuresInRow: 1,
            successesInRow: 0,
            lastDetail: 'timed out after 2000 ms',
            lastAtMs: NOW,
          },
        ],
      }),
    },
  ],
  [
    'running, the newest wish not answered',
    { phase: phaseOf('running', common), observedGeneration: 2, observed: observed({ health: 'healthy' }) },
  ],
  ['running on a silent node', { phase: phaseOf('running', common), observed: observed({ health: 'healthy' }) }, silent],
  [
    'degraded',
    {
      phase: phaseOf('degraded', { ...common, reason: 'health_check_failed' }),
      observed: observed({
        health: 'unhealthy',
        checks: [
          { name: 'http /', kind: 'live', passing: false, failuresInRow: 7, successesInRow: 0, lastDetail: 'status 500', lastAtMs: NOW },
        ],
      }),
    },
  ],
  ['paused', { want: 'paused', phase: phaseOf('paused', common) }],
  ['paused outside', { phase: phaseOf('paused', { ...common, reason: 'paused_outside' }) }],
  ['stopping for good', { want: 'stopped', phase: { kind: 'stopping', ...common, towards: 'stopped' } }],
  [
    'stopping, and it does not',
    {
      want: 'deleted',
      phase: { kind: 'stopping', ...common, towards: 'deleted', lastError: error('stop_failed', 'The process did not end.') },
    },
  ],
  ['stopping for a restart', { phase: { kind: 'stopping', ...common, reason: 'unhealthy_restart', towards: 'restart' } }],
  ['stopped', { want: 'stopped', phase: { kind: 'stopped', ...common, exit: exit(null, 'SIGTERM') } }],
  ['deleting on a silent node', { want: 'deleted', observedGeneration: 2, phase: phaseOf('running', common) }, silent],
  [
    'recovering from an exit',
    {
      phase: {
        kind: 'recovering',
        ...common,
        reason: 'process_dead',
        attempt: 1,
        nextAttemptAtMs: NOW + 28 * S,
        lastError: error('exited', 'It exited with code 1.'),
      },
      observed: observed({ lastExit: exit(1) }),
    },
  ],
  [
    'recovering from out of memory',
    {
      phase: {
        kind: 'recovering',
        ...common,
        reason: 'memory_limit_exceeded',
        attempt: 0,
        nextAttemptAtMs: NOW,
        lastError: error('memory_limit_exceeded', ''),
      },
      observed: observed({ lastExit: exit(137, null, true) }),
    },
  ],
  [
    'crash looping',
    {
      phase: {
        kind: 'crash_looping',
        ...common,
        reason: 'process_dead',
        attempt: 2,
        nextAttemptAtMs: NOW + 95 * S,
        lastError: error('crash_loop', 'It ended 3 times in 4 s.'),
      },
      observed: observed({ lastExit: exit(127) }),
    },
  ],
  [
    'quarantined',
    {
      phase: {
        kind: 'quarantined',
        ...common,
        reason: 'attempts_exhausted',
        attempt: 3,
        untilMs: NOW + 240 * S,
        lastError: error('start_failed', 'The port 80 cannot be bound.'),
      },
    },
  ],
  [
    'failed for good',
    {
      phase: phaseOf('failed', {
        ...common,
        reason: 'permanent_error',
        lastError: error('image_not_found', 'No image nginx:nope on Docker Hub.'),
      }),
    },
  ],
  [
    'failed, the healer is due',
    { phase: phaseOf('failed', { ...common, reason: 'start_failed', lastError: error('image_pull_failed', 'TLS handshake timeout.') }) },
    { heal: heal() },
  ],
  [
    'failed just now',
    {
      phase: phaseOf('failed', {
        ...common,
        sinceMs: NOW - S,
        reason: 'start_failed',
        lastError: error('image_pull_failed', 'TLS handshake timeout.'),
      }),
    },
  ],
  [
    'failed, the healer gave up',
    { phase: phaseOf('failed', { ...common, reason: 'start_failed', lastError: error('image_pull_failed', 'TLS handshake timeout.') }) },
    { heal: heal({ givenUp: true, attempts: 5 }) },
  ],
  [
    'failed, recovery off',
    {
      phase: phaseOf('failed', { ...common, reason: 'recovery_off', lastError: error('process_dead', 'The process is gone.') }),
      observed: observed({ lastExit: exit(null, 'SIGKILL') }),
    },
  ],
  [
    'a one-shot that failed',
    {
      spec: specOf({ runtime: 'fake', command: ['x'], memory: '64Mi', restart: { policy: 'never' } }),
      phase: phaseOf('failed', { ...common, reason: 'exited_error', lastError: error('one_shot_failed', 'It exited with code 2.') }),
      observed: observed({ lastExit: exit(2) }),
    },
  ],
  [
    'being deleted, the runtime silent',
    { want: 'deleted', phase: { kind: 'stopping', ...common, reason: 'runtime_unreachable', towards: 'deleted' } },
  ],
  ['completed', { phase: { kind: 'completed', ...common, reason: 'exited_ok', exit: exit(0) }, observed: observed({ lastExit: exit(0) }) }],
  ['lost', { phase: phaseOf('lost', { ...common, reason: 'node_lost' }) }, silent],
  ['deleted', { want: 'deleted', nodeId: null, phase: phaseOf('deleted', common) }],
  [
    'placed on a node whose disk is full',
    {
      phase: phaseOf('placed', common),
      observed: observed({
        blocked: { code: 'disk_full', detail: 'No room left to write /var/hf/journal.', fields: { path: '/var/hf/journal' } },
      }),
    },
  ],
  [
    'running, as a database with a full disk knows it',
    { phase: phaseOf('running', common), observed: observed({ health: 'healthy' }) },
    { storeBlocked: failure('store_unavailable', 'PostgreSQL has no room left on its disk (SQLSTATE 53100).') },
  ],
  ['running, its runtime away', { spec: contained, phase: phaseOf('running', common), observed: observed({ health: 'healthy' }) }, away],
  ['stopped, its runtime away', { spec: contained, want: 'stopped', phase: { kind: 'stopped', ...common, exit: exit(0) } }, away],
  ['a replica', { membership: membershipOf(), phase: phaseOf('running', common), observed: observed({ health: 'healthy' }) }],
]

test('every state has a text', () => {
  const seen = new Set(CASES.map(([, instance]) => instance.phase?.kind ?? 'pending'))
  expect(PHASE_KINDS.filter((kind) => !seen.has(kind))).toEqual([])
})

test.each(CASES)('%s', (name, instance, more) => {
  expect(`${name}\n${why(instance, more)}\n`).toMatchSnapshot()
})

test('the way out of its last error is not the question that was just asked', () => {
  const phase = phaseOf('failed', { lastError: { code: 'stop_failed', detail: 'no', atMs: NOW } })
  const instance = instanceOf({ name: 'web', phase, nodeId: nodeId('n1') })
  const { last_error } = explain({ instance, node: null, heal: null, nodesKnown: 1, storeBlocked: null, nowMs: NOW })
  expect(last_error?.next).toMatch(/\w/)
  expect(last_error?.next).not.toContain('holdfast why')
})
