// What one observation changes in one instance: pure, so that every order and repetition can be tested.
//
// A session is ordered, and older sessions are fenced off, so within a session a lower generation, incarnation or number of a transition
// can only be a leftover and is ignored. A new session is believed even when its numbers are lower: the agent may have lost its disk.
import type { Observed, Transition } from '../../contracts/agent-protocol.ts'
import type { InstanceId, NodeId, OrgId } from '../../contracts/ids.ts'
import { CloudInitStatus, type Phase, type PhaseKind } from '../../contracts/phase.ts'
import type { NewEvent } from '../model/event.ts'
import type { ObservedRest, Want } from '../model/instance.ts'
import { HISTORY_MAX, stateChange } from './instance-fold.ts'

/** The observed half as it is stored. */
export interface Known {
  readonly want: Want
  readonly state: PhaseKind
  readonly observedGeneration: number
  readonly observedEpoch: number
  readonly incarnation: number
  readonly lastTransitionSeq: number
  readonly observed: unknown
}

export interface Fold {
  /** New steps, oldest first; the last one leads to `phase`. */
  readonly steps: readonly Omit<Transition, 'seq'>[]
  readonly lastTransitionSeq: number
  readonly phase: Phase
  readonly generation: number
  readonly incarnation: number
  readonly rest: ObservedRest
  /** The workload is gone and was to go: the row is now evidence. */
  readonly gone: boolean
  /** Worth telling everybody; a check's standing alone is not. */
  readonly notable: boolean
}

/** What a batch is folded onto. */
export interface Stored extends Known {
  readonly orgId: OrgId
  readonly name: string
  /** The number of the last step of its history. */
  readonly historySeq: number
}

export interface BatchFold extends Fold {
  readonly id: InstanceId
  readonly historySeq: number
  /** The new steps with their numbers. */
  readonly numbered: readonly Transition[]
  /** Steps up to this number have become too old to be kept; 0 = none. */
  readonly trimUpTo: number
  /** The healer gave up on it, and it runs after all: a later failure is a new one, with a new budget. */
  readonly endsSpentHeal: boolean
  readonly events: readonly NewEvent[]
}

/** Up to which transition each item is dealt with once its batch is stored, also one that changes nothing. */
export const acksOf = (items: readonly Observed[]): readonly { readonly id: InstanceId; readonly seq: number }[] =>
  items.map((item) => ({ id: item.id, seq: item.transitions.reduce((max, step) => Math.max(max, step.seq), 0) }))

/** One fold for each instance that changes, in the order of the items. Those that are not in `stored` are ignored. */
export function foldBatch(
  stored: ReadonlyMap<InstanceId, Stored>,
  nodeId: NodeId,
  epoch: number,
  items: readonly Observed[],
  nowMs: number,
): readonly BatchFold[] {
  const newest = new Map(stored)
  const folds = new Map<InstanceId, readonly [Stored, Fold]>()
  for (const item of items) {
    const known = newest.get(item.id)
    if (!known) continue
    const fold = foldObserved(known, item, epoch, nowMs)
    if (!fold) continue
    // The same instance twice in a batch: the second one is folded onto the first.
    newest.set(item.id, advance(known, fold, epoch))
    folds.set(item.id, merge(folds.get(item.id), known, fold))
  }
  return [...folds].map(([id, [known, fold]]) => settled(id, nodeId, known, fold))
}

function advance(known: Stored, fold: Fold, epoch: number): Stored {
  return {
    ...known,
    state: fold.phase.kind,
    observedGeneration: fold.generation,
    observedEpoch: epoch,
    incarnation: fold.incarnation,
    lastTransitionSeq: fold.lastTransitionSeq,
    observed: fold.rest,
  }
}

function merge(before: readonly [Stored, Fold] | undefined, known: Stored, fold: Fold): readonly [Stored, Fold] {
  if (!before) return [known, fold]
  const [first, earlier] = before
  return [
    first,
    { ...fold, steps: [...earlier.steps, ...fold.steps], notable: earlier.notable || fold.notable, gone: earlier.gone || fold.gone },
  ]
}

function settled(id: InstanceId, nodeId: NodeId, known: Stored, fold: Fold): BatchFold {
  const about = { orgId: known.orgId, instanceId: id, nodeId }
  const historySeq = known.historySeq + fold.steps.length
  const events = fold.steps.map(
    (step): NewEvent => ({
      type: 'instance.state_changed',
      ...about,
      data: stateChange(step.from, step.to, step.incarnation, step.atMs, step.exit),
    }),
  )
  return {
    ...fold,
    id,
    historySeq,
    numbered: fold.steps.map((step, index) => ({ ...step, seq: known.historySeq + index + 1 })),
    trimUpTo: fold.steps.length > 0 ? Math.max(0, historySeq - HISTORY_MAX) : 0,
    endsSpentHeal: fold.phase.kind === 'running',
    events: fold.gone ? [...events, { type: 'instance.deleted', ...about, data: { name: known.name } }] : events,
  }
}

/** null = nothing to store. */
export function foldObserved(known: Known, item: Observed, epoch: number, nowMs: number): Fold | null {
  const { id: _id, generation, incarnation, phase, transitions, ...seen } = item
  if (epoch === known.observedEpoch && isLeftover(known, item)) return null
  // An agent tells what it sees, and sees no container that was collected. What was done in it is evidence, and stays.
  const rest = seen.cloudInit === null && incarnation === known.incarnation ? { ...seen, cloudInit: cloudInitOf(known.observed) } : seen
  const fresh = transitions.filter((step) => step.seq > known.lastTransitionSeq).sort((left, right) => left.seq - right.seq)
  const steps = fresh.map(({ seq: _seq, ...step }) => step)
  const reached = fresh.at(-1)?.to.kind ?? known.state
  // The state moved without a numbered step: it was `lost`, or the agent lost its numbering. The history must not jump unexplained.
  if (reached !== phase.kind) steps.push({ atMs: nowMs, from: reached, to: phase, incarnation, exit: null })
  const gone = phase.kind === 'deleted' && known.want === 'deleted'
  const same = generation === known.observedGeneration && incarnation === known.incarnation && epoch === known.observedEpoch
  if (same && steps.length === 0 && !gone && sameJson(known.observed, rest)) return null
  return {
    steps,
    lastTransitionSeq: fresh.at(-1)?.seq ?? known.lastTransitionSeq,
    phase,
    generation,
    incarnation,
    rest,
    gone,
    notable:
      steps.length > 0 || gone || generation !== known.observedGeneration || !sameJson(withoutChecks(known.observed), withoutChecks(rest)),
  }
}

/**
 * An older word of the same session: a write whose answer was lost, and which took effect after a later one. Within a session every
 * change of state has a number; only `lost` was put there by us.
 */
function isLeftover(known: Known, { generation, incarnation, phase, transitions }: Observed): boolean {
  const told = Math.max(0, ...transitions.map(({ seq }) => seq))
  const older = generation < known.observedGeneration || incarnation < known.incarnation || (told > 0 && told < known.lastTransitionSeq)
  return older || (told <= known.lastTransitionSeq && phase.kind !== known.state && known.state !== 'lost')
}

function cloudInitOf(observed: unknown): ObservedRest['cloudInit'] {
  const kept = typeof observed === 'object' && observed !== null && 'cloudInit' in observed ? observed.cloudInit : null
  return kept === null ? null : (CloudInitStatus.safeParse(kept).data ?? null)
}

function withoutChecks(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? { ...value, checks: null } : value
}

/** Structural equality of JSON values; the order of members is PostgreSQL's on one side. */
function sameJson(left: unknown, right: unknown): boolean {
  if (left === right) return true
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false
  if (Array.isArray(left) !== Array.isArray(right)) return false
  const a = Object.entries(left)
  const b = new Map(Object.entries(right).filter(([, value]) => value !== undefined))
  return a.length === b.size && a.every(([key, value]) => b.has(key) && sameJson(value, b.get(key)))
}
