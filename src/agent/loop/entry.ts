// What the agent holds in memory for one instance, and the views others get of it.
import type { Desired, Observed, Transition } from '../../contracts/agent-protocol.ts'
import type { NodeBlocked } from '../../contracts/blocked.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { ModesInForce } from '../../contracts/modes.ts'
import type { CheckStanding, PhaseKind } from '../../contracts/phase.ts'
import type { Facts, Outcome, SeenFact, Step, Verdict } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'
import type { Sight } from '../observe/look.ts'
import type { RecoveryStage } from './gate.ts'

export interface Entry {
  record: InstanceRecord
  sight: Sight
  /** The sight is stale: look before the next step. */
  look: boolean
  /** What others were last told of the sight; they hear of a sight that says something else, also when no state moves. */
  face: string
  /** Rises with each look and each effect: a listing that began before it is stale and says nothing (a listing is slow, a restart is not). */
  epoch: number
  /** The newest wish, not merged yet. */
  wish: Desired | null
  /** Transitions the control plane has not stored yet, oldest first. */
  outbox: readonly Transition[]
  /** The control plane has stored transitions up to this number, which a lost journal does not know: the next one goes above it. */
  seqFloor: number
  standings: readonly CheckStanding[]
  verdict: Verdict
  /** Aborts the action under way. */
  abort: AbortController | null
  actionUnderWay: 'prepare' | 'start' | 'other' | null
  cancelWake: () => void
  outcome: Outcome | null
  /** The disk refused to take the last step; nothing further is done until it does. */
  trouble: Failure | null
  /** The record is ahead of the journal: the disk is full, and what is wished away was let go nevertheless. */
  unwritten: boolean
  /** When the event that made us look came in, in elapsed milliseconds; null when no event is being answered. */
  eventAtMs: number | null
  /** The control plane has stored its deletion; the files may go. */
  deletionStored: boolean
  /** What is in force for it; null before the first turn. */
  modes: ModesInForce | null
  /** A recovery is due and waits for its turn. */
  waitsFor: Step['waitsFor']
  /** Garbage: only this node knows of it. */
  disowned: boolean
  /** Wall clock minus elapsed clock when the moments in the record were last true of both; null before the first turn. */
  clockOffsetMs: number | null
}

export const NO_VERDICT: Verdict = { health: 'unknown', reason: null, detail: '', startFailed: false, gated: false }

export function newEntry(record: InstanceRecord, outbox: readonly Transition[]): Entry {
  return {
    record,
    sight: { kind: 'unknown', failure: null },
    look: true,
    face: '',
    epoch: 0,
    wish: null,
    outbox,
    seqFloor: 0,
    standings: [],
    verdict: NO_VERDICT,
    abort: null,
    actionUnderWay: null,
    cancelWake: () => {},
    outcome: null,
    trouble: null,
    unwritten: false,
    eventAtMs: null,
    deletionStored: false,
    modes: null,
    waitsFor: null,
    disowned: false,
    clockOffsetMs: null,
  }
}

/** What an observation shows of the sight. */
export const faceOf = (entry: Entry): string => `${modesText(entry.modes)} ${sightText(entry)}`

const modesText = (modes: ModesInForce | null): string =>
  modes === null ? '' : [modes.recovery.mode, modes.recovery.setOn, modes.checks.mode, modes.checks.setOn].join()

function sightText({ record, sight, waitsFor, trouble }: Entry): string {
  if (trouble) return `blocked ${trouble.code}`
  if (waitsFor) return waitsFor.kind
  if (sight.kind === 'unknown') return `unknown ${sight.failure?.code ?? ''}`
  const current = sight.objects.find((object) => object.incarnation === record.incarnation)
  if (!current) return 'absent'
  const { incarnation, state, pid, addresses, notes, cloudInit } = current
  return JSON.stringify([incarnation, state, pid, addresses, notes, cloudInit])
}

export function seenFact(sight: Sight): SeenFact {
  if (sight.kind === 'unknown') return { kind: 'unknown' }
  return {
    kind: 'known',
    objects: sight.objects.map(({ incarnation, nonce, state, exit, matches, startedAtMs, addresses }) => ({
      incarnation,
      nonce,
      state,
      exit,
      matches,
      startedAtMs,
      ports: Object.fromEntries(addresses.map(({ name, port }) => [name, port])),
    })),
  }
}

/** States in which memory is held. A quarantined instance keeps its place: its trial start must not be refused. */
const HOLDING: ReadonlySet<PhaseKind> = new Set([
  'starting',
  'running',
  'degraded',
  'paused',
  'stopping',
  'recovering',
  'crash_looping',
  'quarantined',
])
export const holdsReservation = (record: InstanceRecord): boolean => HOLDING.has(record.phase.kind)

const LIVING: ReadonlySet<PhaseKind> = new Set(['running', 'degraded'])
/** States in which checks run. */
export const isChecked = (record: InstanceRecord): boolean => LIVING.has(record.phase.kind)

function waitText(waitsFor: NonNullable<Entry['waitsFor']>): string {
  return waitsFor.kind === 'queued'
    ? `waits for its turn: ${waitsFor.starting} are being started on its node, ${waitsFor.waiting} more wait`
    : `is held back: recoveries on its node are paused, because those of ${waitsFor.failures} instances failed shortly before`
}

export function recoveryStageOf({ record, waitsFor }: Pick<Entry, 'record' | 'waitsFor'>): RecoveryStage {
  if (waitsFor) return 'waiting'
  if (record.episode === null) return 'away'
  const { kind } = record.phase
  if (kind === 'preparing' || kind === 'starting') return 'starting'
  return kind === 'running' && !record.verified ? 'unproven' : 'away'
}

const blockedBy = ({ code, detail, fields }: Failure): NonNullable<Observed['blocked']> => ({
  code,
  detail,
  ...(typeof fields?.path === 'string' && { fields: { path: fields.path } }),
})

/** Of all of a node; undefined when nothing is. */
export function blockedOf(entries: Iterable<Entry>): NodeBlocked | undefined {
  const troubles = [...entries].map(({ trouble }) => trouble).filter((trouble) => trouble !== null)
  const [first] = troubles
  return first && { code: first.code, detail: first.detail, instances: troubles.length }
}

/** What is degraded stays unhealthy until its checks say otherwise, also when an agent that has measured nothing yet took it over. */
function healthOf({ record, verdict }: Entry): Observed['health'] {
  if (!isChecked(record)) return 'unknown'
  if (record.phase.kind === 'degraded') return verdict.health === 'healthy' ? 'healthy' : 'unhealthy'
  return record.verified || verdict.health === 'unhealthy' ? verdict.health : 'starting'
}

export function observedOf(entry: Entry): Observed {
  const { record, sight } = entry
  const current = sight.kind === 'known' ? sight.objects.find((object) => object.incarnation === record.incarnation) : undefined
  const living = current?.state === 'running' || current?.state === 'paused'
  const notes = [...(current?.notes ?? [])]
  if (entry.trouble) notes.push(`${entry.trouble.code}: ${entry.trouble.detail}`)
  if (sight.kind === 'unknown' && sight.failure) notes.push(`${sight.failure.code}: ${sight.failure.detail}`)
  return {
    id: record.desired.id,
    generation: record.desired.generation,
    healSeq: record.acted.healSeq,
    incarnation: record.incarnation,
    phase: record.phase,
    health: healthOf(entry),
    checks: [...entry.standings],
    addresses: living && current ? [...current.addresses] : [],
    pid: living && current ? current.pid : null,
    lastExit: record.lastExit,
    attempts: record.attempts,
    ...(entry.modes && { modes: entry.modes }),
    cloudInit: current?.cloudInit ?? null,
    ...(entry.waitsFor && { waits: { kind: entry.waitsFor.kind, detail: waitText(entry.waitsFor) } }),
    ...(entry.trouble && { blocked: blockedBy(entry.trouble) }),
    notes,
    transitions: [...entry.outbox],
  }
}

type Given = Omit<Facts, 'seen' | 'verdict' | 'outcome'> & { readonly gated: boolean }

/** Whether checks gate it follows from the spec, not from a measurement: an adopted start is not verified before its first check. */
export const factsFor = (entry: Entry, { gated, ...rest }: Given): Facts => ({
  ...rest,
  seen: seenFact(entry.sight),
  verdict: { ...entry.verdict, gated },
  outcome: entry.outcome,
})
