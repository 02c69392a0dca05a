// decideHeal(facts, now, fraction) -> heal, wait, drop or give up. The control plane heals what the node could not (HEAL-9,
// docs/models/healing.md). The node owns an episode to its end: while it is at work (preparing, recovering, crash looping,
// quarantined, degraded, …) the healer waits. It acts on `failed` and `lost` only, never on what is wished anything but running,
// never for a generation that somebody else has wished since, and never twice before the agent has answered the first time.
import { type Backoff, backoffMs } from '../../base/backoff.ts'
import { ERRORS } from '../../contracts/errors.ts'
import type { HealRecord } from '../model/heal.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { recoveryOf } from '../model/modes.ts'

export interface HealPolicy {
  /** How long an instance must have been failed or lost before anything is done. */
  readonly safetyDelayMs: number
  readonly attemptsMax: number
  readonly backoff: Backoff
  /** Running this long ends the work and gives the next failure a fresh budget. */
  readonly stableAfterMs: number
  /** How often to look at what is in somebody else's hands. */
  readonly lookAgainMs: number
}

export interface HealFacts {
  /** Read again under its row lock. */
  readonly instance: InstanceRecord
  readonly work: HealRecord
  /** The agent of its node can hear a wish. */
  readonly nodeConnected: boolean
  /** Its node is known to run nothing of ours any more: silent past its lease, and fencing itself. */
  readonly nodeFenced: boolean
  /** Another node would take it. */
  readonly otherNode: boolean
}

export type HealDecision =
  | {
      readonly kind: 'heal'
      readonly how: 'restart' | 'replace'
      readonly attempt: number
      readonly nextDueAtMs: number
      readonly because: string
    }
  | { readonly kind: 'wait'; readonly untilMs: number; readonly because: string }
  /** The work ends. `succeeded` only when an attempt of ours led to a stable run. */
  | { readonly kind: 'drop'; readonly outcome: 'succeeded' | 'cancelled'; readonly because: string }
  /** Never again for this generation. `announce`: attempts were made and were not enough; otherwise there was never anything to try. */
  | { readonly kind: 'give_up'; readonly announce: boolean; readonly untilMs: number; readonly because: string }

/** A row that was given up only remembers that; looked at now and then to be dropped when nobody needs it. */
const GIVEN_UP_LOOK_MS = 3_600_000

export function decideHeal(facts: HealFacts, policy: HealPolicy, nowMs: number, fraction: number): HealDecision {
  const { instance, work } = facts
  if (instance.want !== 'running') return { kind: 'drop', outcome: 'cancelled', because: `it is now wished ${instance.want}` }
  if (instance.generation > work.generation) return { kind: 'drop', outcome: 'cancelled', because: 'somebody wished something newer' }
  const { kind } = instance.phase
  switch (kind) {
    case 'failed':
      return work.givenUp ? remember(work, nowMs) : decideFailed(facts, policy, nowMs, fraction)
    case 'lost':
      return work.givenUp ? remember(work, nowMs) : decideLost(facts, policy, nowMs, fraction)
    case 'running':
      return decideRunning(facts, policy, nowMs)
    case 'completed':
      return { kind: 'drop', outcome: work.attempts > 0 ? 'succeeded' : 'cancelled', because: 'it completed' }
    case 'deleted':
      return { kind: 'drop', outcome: 'cancelled', because: 'it is deleted' }
    case 'pending':
    case 'placed':
    case 'preparing':
    case 'starting':
    case 'stopping':
    case 'stopped':
    case 'paused':
    case 'degraded':
    case 'recovering':
    case 'crash_looping':
    case 'quarantined':
      return { kind: 'wait', untilMs: nowMs + policy.lookAgainMs, because: `it is ${kind}: not the healer's` }
    default:
      return kind satisfies never
  }
}

const remember = (work: HealRecord, nowMs: number): HealDecision => ({
  kind: 'give_up',
  announce: false,
  untilMs: nowMs + GIVEN_UP_LOOK_MS,
  because: work.reason,
})

function decideRunning({ instance, work }: HealFacts, policy: HealPolicy, nowMs: number): HealDecision {
  const sinceMs = Math.min(instance.phase.sinceMs, nowMs)
  if (nowMs - sinceMs < policy.stableAfterMs)
    return { kind: 'wait', untilMs: sinceMs + policy.stableAfterMs, because: 'it runs, not yet for long enough' }
  return { kind: 'drop', outcome: work.attempts > 0 ? 'succeeded' : 'cancelled', because: 'it runs and is stable' }
}

function decideFailed(facts: HealFacts, policy: HealPolicy, nowMs: number, fraction: number): HealDecision {
  const { instance, work } = facts
  const hopeless = nothingToTry(instance)
  if (hopeless !== undefined) return { kind: 'give_up', announce: false, untilMs: nowMs + GIVEN_UP_LOOK_MS, because: hopeless }
  const early = tooEarly(facts, policy, nowMs)
  if (early) return early
  // A wish that cannot be heard is no attempt.
  if (!facts.nodeConnected) return { kind: 'wait', untilMs: nowMs + policy.lookAgainMs, because: 'its node is not connected' }
  const silent = unanswered(instance)
  if (silent && work.attempts === 0)
    return { kind: 'wait', untilMs: nowMs + policy.lookAgainMs, because: 'its node has not acted on the newest wish yet' }
  return attempt(work, policy, nowMs, fraction, 'restart', silent ? 'the node did not act on the last attempt' : causeOf(instance))
}

function decideLost(facts: HealFacts, policy: HealPolicy, nowMs: number, fraction: number): HealDecision {
  const { instance, work } = facts
  const waiting = (because: string): HealDecision => ({ kind: 'wait', untilMs: nowMs + policy.lookAgainMs, because })
  const off = recoveryOff(instance)
  if (off !== undefined) return { kind: 'give_up', announce: false, untilMs: nowMs + GIVEN_UP_LOOK_MS, because: off }
  if (instance.spec.restart === 'never') return waiting('its node is gone, and a one-shot is not run a second time')
  // A silent agent still runs its workloads: until they are known to be stopped, a second copy could run beside the first.
  if (!facts.nodeFenced) return waiting('its node is silent but may still run it')
  if (!facts.otherNode) return waiting('its node is gone and no other one can take it')
  const early = tooEarly(facts, policy, nowMs)
  return early ?? attempt(work, policy, nowMs, fraction, 'replace', 'node_lost')
}

function attempt(
  work: HealRecord,
  policy: HealPolicy,
  nowMs: number,
  fraction: number,
  how: 'restart' | 'replace',
  because: string,
): HealDecision {
  if (work.attempts >= policy.attemptsMax) return { kind: 'give_up', announce: true, untilMs: nowMs + GIVEN_UP_LOOK_MS, because }
  const number = work.attempts + 1
  return { kind: 'heal', how, attempt: number, nextDueAtMs: nowMs + backoffMs(policy.backoff, number, fraction), because }
}

/** The row's own due time holds the backoff; the state must also have lasted, because a new failure may be a minute younger than the row. */
function tooEarly({ instance, work }: HealFacts, policy: HealPolicy, nowMs: number): HealDecision | undefined {
  if (nowMs < work.dueAtMs) return { kind: 'wait', untilMs: work.dueAtMs, because: 'backing off' }
  const ageMs = nowMs - instance.phase.sinceMs
  // A negative age is the node's clock running ahead: it must not hold up healing for ever.
  if (ageMs >= 0 && ageMs < policy.safetyDelayMs)
    return { kind: 'wait', untilMs: instance.phase.sinceMs + policy.safetyDelayMs, because: 'safety delay' }
  return undefined
}

/** The agent has not acted on the newest wish: what it reports is about an older one. */
const unanswered = (instance: InstanceRecord) =>
  instance.observedGeneration < instance.generation || (instance.observed?.healSeq ?? 0) < instance.healSeq

const causeOf = (instance: InstanceRecord) => instance.phase.lastError?.code ?? instance.phase.reason

function recoveryOff(instance: InstanceRecord): string | undefined {
  if (instance.phase.reason === 'recovery_off') return 'recovery is off on its node'
  const mode = recoveryOf(instance)
  if (mode !== null && mode !== 'on') return `recovery is ${mode} for it`
  return undefined
}

/** Why no attempt of ours could help; undefined when one could. */
function nothingToTry(instance: InstanceRecord): string | undefined {
  const { phase, spec } = instance
  const off = recoveryOff(instance)
  if (off !== undefined) return off
  // A one-shot that ran and ended badly has had its one run; one that could not be started has not.
  if (spec.restart === 'never' && phase.reason === 'exited_error') return 'a one-shot is not run a second time'
  if (phase.reason === 'permanent_error') return 'trying again cannot mend it'
  if (phase.lastError && ERRORS[phase.lastError.code].retry === 'never') return 'trying again cannot mend it'
  return undefined
}
