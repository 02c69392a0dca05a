// The node's breaker: when recoveries on this node keep failing, whatever the reason, trying all of them again only adds load and uses
// up their attempts. So new automatic attempts pause; looking, counting, and what people ask for by hand go on.
//
//   closed     every recovery may begin. Opens when, within the window, at least `failuresMin` different instances failed an attempt
//              and the failed ones are at least `failureRatio` of all that were concluded. A death is no failure; a failed attempt is:
//              a thousand workloads killed at once are simply started again.
//   open       none may begin, for `openMs`, doubled with each opening in a row up to `openMsMax`.
//   half_open  one at a time may begin. `trials` successes in a row close it, one failure opens it again; so does a whole window in
//              which none failed, because then nothing is left to try.
//
// Times are of a clock that never jumps. Nothing of it is kept over a restart of the agent: it is learnt anew within a window.
import type { InstanceId } from '../../contracts/ids.ts'

export interface BreakerConfig {
  readonly windowMs: number
  readonly failuresMin: number
  /** Share of failed attempts among the concluded ones, 0..1. */
  readonly failureRatio: number
  readonly openMs: number
  readonly openMsMax: number
  readonly trials: number
}

/** How one attempt of a recovery ended. */
interface Concluded {
  readonly id: InstanceId
  readonly ok: boolean
  readonly atMs: number
}

/** Attempts remembered by a closed breaker; older ones make room. */
const CONCLUDED_MAX = 1024

export type Breaker =
  | { readonly kind: 'closed'; readonly concluded: readonly Concluded[] }
  | {
      readonly kind: 'open'
      readonly sinceMs: number
      readonly untilMs: number
      /** How often in a row it has opened. */
      readonly openings: number
      /** Different instances that failed, for the people who read of it. */
      readonly failures: number
    }
  | {
      readonly kind: 'half_open'
      readonly sinceMs: number
      readonly quietSinceMs: number
      readonly openings: number
      readonly failures: number
      readonly successes: number
    }

export const CLOSED: Breaker = { kind: 'closed', concluded: [] }

/** What time alone changes. */
export function elapse(breaker: Breaker, config: BreakerConfig, nowMs: number): Breaker {
  switch (breaker.kind) {
    case 'closed':
      return breaker
    case 'open':
      return nowMs < breaker.untilMs
        ? breaker
        : {
            kind: 'half_open',
            sinceMs: breaker.sinceMs,
            quietSinceMs: breaker.untilMs,
            openings: breaker.openings,
            failures: breaker.failures,
            successes: 0,
          }
    case 'half_open':
      return nowMs - breaker.quietSinceMs < config.windowMs ? breaker : CLOSED
    default:
      return breaker satisfies never
  }
}

/** One attempt has ended, an automatic one or one asked for by hand: both say something of the node. */
export function conclude(before: Breaker, config: BreakerConfig, outcome: Concluded): Breaker {
  const breaker = elapse(before, config, outcome.atMs)
  switch (breaker.kind) {
    case 'closed': {
      const recent = [...breaker.concluded.filter(({ atMs }) => outcome.atMs - atMs < config.windowMs), outcome].slice(-CONCLUDED_MAX)
      const failed = recent.filter(({ ok }) => !ok)
      const failures = new Set(failed.map(({ id }) => id)).size
      return failures >= config.failuresMin && failed.length >= recent.length * config.failureRatio
        ? opened(config, outcome.atMs, outcome.atMs, 1, failures)
        : { kind: 'closed', concluded: recent }
    }
    case 'open':
      // What had begun before it opened, or was asked for by hand.
      return breaker
    case 'half_open':
      if (!outcome.ok) return opened(config, breaker.sinceMs, outcome.atMs, breaker.openings + 1, breaker.failures)
      return breaker.successes + 1 >= config.trials ? CLOSED : { ...breaker, successes: breaker.successes + 1 }
    default:
      return breaker satisfies never
  }
}

function opened(config: BreakerConfig, sinceMs: number, nowMs: number, openings: number, failures: number): Breaker {
  // The exponent is bounded, so that no count of openings overflows.
  const forMs = Math.min(config.openMsMax, config.openMs * 2 ** Math.min(openings - 1, 30))
  return { kind: 'open', sinceMs, untilMs: nowMs + forMs, openings, failures }
}

/** How many automatic recoveries may run at once. */
export function slots(breaker: Breaker, concurrencyMax: number): number {
  switch (breaker.kind) {
    case 'closed':
      return concurrencyMax
    case 'open':
      return 0
    case 'half_open':
      return 1
    default:
      return breaker satisfies never
  }
}
