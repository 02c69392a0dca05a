// What one observation changes in one instance: pure, so that every order and repetition can be tested.
//
// A session is ordered, and older sessions are fenced off, so within a session a lower generation or incarnation can only be a
// leftover and is ignored. A new session is believed even when its numbers are lower: the agent may have lost its disk.
import type { Observed, Transition } from '../../contracts/agent-protocol.ts'
import type { Phase, PhaseKind } from '../../contracts/phase.ts'
import type { ObservedRest, Want } from '../model/instance.ts'

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

/** null = nothing to store. */
export function foldObserved(known: Known, item: Observed, epoch: number, nowMs: number): Fold | null {
  const { id: _id, generation, incarnation, phase, transitions, ...rest } = item
  if (epoch === known.observedEpoch && (generation < known.observedGeneration || incarnation < known.incarnation)) return null
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
