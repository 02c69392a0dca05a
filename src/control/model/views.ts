// Records as the API shows them: snake_case, RFC 3339 times, bytes. Pure.

import type { z } from 'zod'
import type { Stats, Transition } from '../../contracts/agent-protocol.ts'
import { withName } from '../../contracts/commands-in-words.ts'
import { ERRORS } from '../../contracts/errors.ts'
import type { Attempt, CheckStanding, Exit, LastError, Phase } from '../../contracts/phase.ts'
import type {
  AuditView,
  ErrorView,
  EventView,
  HistoryView,
  InstanceView,
  NodeView,
  OrgView,
  StatsView,
  TokenView,
} from '../../contracts/views.ts'
import type { AuditRecord, EventRecord } from './event.ts'
import type { HealRecord } from './heal.ts'
import { nextHealMs } from './heal-time.ts'
import type { InstanceRecord } from './instance.ts'
import { modesView } from './modes.ts'
import type { NodeRecord } from './node.ts'
import type { OrgRecord, TokenRecord } from './org.ts'
import { specInput } from './spec-input.ts'

const DATE_MS_MAX = 8.64e15
/** A time an agent or a row may have broken still shows as a time. */
export const timeOf = (ms: number): string => new Date(Number.isFinite(ms) && Math.abs(ms) <= DATE_MS_MAX ? ms : 0).toISOString()
const timeOrNull = (ms: number | null): string | null => (ms === null ? null : timeOf(ms))

export function errorView(error: LastError, name: string): ErrorView {
  const row = ERRORS[error.code]
  return {
    code: error.code,
    message: row.message,
    detail: error.detail,
    next: withName(row.next, name),
    retry: row.retry,
    at: timeOf(error.atMs),
    fields: error.fields ?? {},
  }
}
const errorOrNull = (error: LastError | null, name: string) => (error === null ? null : errorView(error, name))

function exitView(exit: Exit | null): InstanceView['last_exit'] {
  return exit && { code: exit.code, signal: exit.signal, memory_limit_exceeded: exit.oom, at: timeOf(exit.atMs) }
}

const checkView = (check: CheckStanding): InstanceView['health']['checks'][number] => ({
  name: check.name,
  kind: check.kind,
  passing: check.passing,
  failures_in_row: check.failuresInRow,
  successes_in_row: check.successesInRow,
  last_detail: check.lastDetail,
  last_at: timeOrNull(check.lastAtMs),
})

/** When something happens by itself; null when nothing will. */
export function nextAttemptMs(phase: Phase): number | null {
  switch (phase.kind) {
    case 'recovering':
    case 'crash_looping':
      return phase.nextAttemptAtMs
    case 'quarantined':
      return phase.untilMs
    default:
      return null
  }
}

/** `heal`: the control plane's work on it, which says when a failed one is tried again. */
export function instanceView(row: InstanceRecord, heal: HealRecord | null = null): InstanceView {
  const { phase, observed, membership } = row
  const init = observed?.cloudInit ?? null
  return {
    id: row.id,
    name: row.name,
    org_id: row.orgId,
    runtime: row.runtime,
    state: phase.kind,
    reason: phase.reason,
    since: timeOf(phase.sinceMs),
    incarnation: row.incarnation,
    attempt: phase.attempt,
    next_attempt_at: timeOrNull(nextAttemptMs(phase) ?? nextHealMs(row, heal)),
    last_error: errorOrNull(phase.lastError, row.name),
    blocked: observed?.blocked ? { code: observed.blocked.code, detail: observed.blocked.detail } : null,
    desired: {
      state: row.want,
      generation: row.generation,
      observed_generation: row.observedGeneration,
      spec: { ...specInput({ ...row.spec, recoveryMode: row.recoveryMode }) },
    },
    node_id: row.nodeId,
    app: membership?.app ?? null,
    env: membership?.env ?? null,
    process_type: membership?.processType ?? null,
    modes: modesView(row),
    health: { status: observed?.health ?? 'unknown', checks: (observed?.checks ?? []).map(checkView) },
    addresses: [...(observed?.addresses ?? [])],
    pid: observed?.pid ?? null,
    last_exit: exitView(observed?.lastExit ?? null),
    cloud_init: init && {
      done: init.done,
      steps: init.steps.map(({ step, ok, exitCode, output }) => ({ step, ok, exit_code: exitCode, output })),
      unsupported: init.unsupported,
    },
    notes: [...(observed?.notes ?? [])],
    labels: { ...row.labels },
    metadata: { ...row.metadata },
    version: row.version,
    created_at: timeOf(row.createdAtMs),
    updated_at: timeOf(row.updatedAtMs),
  }
}

export function historyView(name: string, attempts: readonly Attempt[], transitions: readonly Transition[]): HistoryView {
  return {
    attempts: attempts.map((one) => ({
      incarnation: one.incarnation,
      attempt: one.attempt,
      reason: one.reason,
      started_at: timeOf(one.startedAtMs),
      ended_at: timeOrNull(one.endedAtMs),
      duration_ms: one.endedAtMs === null ? null : Math.max(0, one.endedAtMs - one.startedAtMs),
      trigger: one.trigger,
      by: one.by,
      data_loss_permitted: one.dataLoss,
      outcome: one.outcome,
      error: errorOrNull(one.error, name),
    })),
    transitions: transitions.map((one) => ({
      seq: one.seq,
      at: timeOf(one.atMs),
      from: one.from,
      to: one.to.kind,
      reason: one.to.reason,
      incarnation: one.incarnation,
      exit: exitView(one.exit),
      error: errorOrNull(one.to.lastError, name),
    })),
  }
}

export function nodeView(node: NodeRecord): NodeView {
  const { facts, usage } = node
  return {
    id: node.id,
    state: !node.connected ? 'offline' : node.cordoned ? 'cordoned' : 'ready',
    connected: node.connected,
    last_seen_at: timeOf(node.lastSeenAtMs),
    hostname: facts.hostname,
    cores: facts.cores,
    memory_bytes: facts.memoryBytes,
    allocatable_memory_bytes: facts.allocatableMemoryBytes,
    reserved_memory_bytes: node.reservedMemoryBytes,
    cpu_ratio: usage.cpuRatio,
    memory_ratio: usage.memoryRatio,
    disk_ratio: usage.diskRatio,
    pressure: [...usage.pressure],
    blocked: usage.blocked ?? null,
    runtimes: facts.runtimes.map((one) => ({ ...one })),
    labels: { ...facts.labels },
    instances: node.instances,
    agent_version: facts.agentVersion,
  }
}

export const statsView = (stats: Stats): StatsView => ({
  at: timeOf(stats.atMs),
  cpu_seconds: stats.cpuSeconds,
  cpu_ratio: stats.cpuRatio,
  memory_bytes: stats.memoryBytes,
  memory_limit_bytes: stats.memoryLimitBytes,
  network_received_bytes: stats.networkReceivedBytes,
  network_sent_bytes: stats.networkSentBytes,
  disk_read_bytes: stats.diskReadBytes,
  disk_written_bytes: stats.diskWrittenBytes,
  processes: stats.processes,
})

export const eventView = (event: EventRecord): EventView => ({
  cursor: String(event.cursor),
  at: timeOf(event.atMs),
  type: event.type,
  org_id: event.orgId,
  instance_id: event.instanceId,
  node_id: event.nodeId,
  data: { ...event.data },
})

export const auditView = (row: AuditRecord): AuditView => ({
  cursor: String(row.cursor),
  at: timeOf(row.atMs),
  actor: row.actor,
  action: row.action,
  org_id: row.orgId,
  target: row.target,
  outcome: row.outcome,
  request_id: row.requestId,
  data: { ...row.data },
})

export const orgView = (org: OrgRecord): z.output<typeof OrgView> => ({ id: org.id, name: org.name, created_at: timeOf(org.createdAtMs) })

export const tokenView = (token: TokenRecord): z.output<typeof TokenView> => ({
  id: token.id,
  name: token.name,
  org_id: token.orgId,
  role: token.role,
  created_at: timeOf(token.createdAtMs),
  last_used_at: timeOrNull(token.lastUsedAtMs),
})
