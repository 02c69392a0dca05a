// What was done, by the hand that did it, and what the oracle saw of it. All figures come from here.
import type { Outage } from './oracle.ts'

/**
 * What has to follow: a `recovery` is a new life that serves; `patience` is the old life, untouched, serving again when the fault is lifted;
 * a `wish` is a new life that somebody asked for; `rest` is a wished end, after which nothing may serve; `doomed` cannot get well, and has to be
 * said to be so; `trouble` hits a part of the platform, which has to be whole again.
 */
export type Expectation = 'recovery' | 'patience' | 'wish' | 'rest' | 'doomed' | 'trouble'

export interface Fault {
  readonly number: number
  /** What was done, such as `SIGKILL` or `exit 3`. */
  readonly kind: string
  /** The class it is counted in: figures of different classes are never mixed. */
  readonly group: string
  readonly expects: Expectation
  /** null: not about one instance. */
  readonly name: string | null
  readonly instanceId: string | null
  /** Elapsed milliseconds of the injector, and the same moment on the wall clock. */
  readonly atMs: number
  readonly at: string
  readonly lifeBefore: string | null
  /** In the warm-up: in the ledger, and in no figure. */
  readonly warmUp: boolean
  lifeAfter: string | null
  /** From the fault (patience: from its lifting) to the first right answer; null: none before the end of the watch. */
  recoveredMs: number | null
  /** How long it was watched, where it did not recover. */
  watchedMs: number
  /** From the fault until it served again, however late, or until the end of the run. null until the end of the run. */
  downMs: number | null
  /** Holdfast has to count it as an orphan. */
  readonly orphans: boolean
  /** First line of `why` while it was down or just after, and whether it names what was done; null: not asked. */
  why: string | null
  whyNamesCause: boolean | null
  /** The same, asked again a while later. */
  whyLater: string | null
  whyLaterNamesCause: boolean | null
}

/** A time in which an instance did not serve, though nobody had done anything to it. */
export interface Unexplained {
  readonly name: string
  readonly atMs: number
  readonly forMs: number | null
  /** Its life ended: somebody killed it. Otherwise it, or the machine, was only slow. */
  readonly killed: boolean
}

/** Outages without a fault. A fault explains what begins from it on, until it is over and the instance has served again. */
export function unexplained(outages: readonly Outage[], faults: readonly Fault[]): readonly Unexplained[] {
  const byName = Map.groupBy(faults, ({ name }) => name ?? '')
  return outages.flatMap(({ name, lastBeat, noticedAtMs, over }) => {
    const explains = (fault: Fault) =>
      fault.atMs <= noticedAtMs && (fault.atMs >= lastBeat.atMs - SLACK_MS || endMs(fault) >= lastBeat.atMs - SLACK_MS)
    if ((byName.get(name) ?? []).some(explains)) return []
    return [{ name, atMs: noticedAtMs, forMs: over && over.atMs - lastBeat.atMs, killed: over !== null && over.life !== lastBeat.life }]
  })
}

/** How long a fault had its instance down. A recovery that came after the watch ends it too; what never came lasts until the end of the run. */
export function downMs(fault: Fault, outages: readonly Outage[], untilMs: number): number {
  if (fault.recoveredMs !== null) return fault.recoveredMs
  const late = outages.find(
    ({ name, over }) => name === fault.name && over !== null && over.life !== fault.lifeBefore && over.atMs >= fault.atMs + fault.watchedMs,
  )
  return Math.max(0, (late?.over?.atMs ?? untilMs) - fault.atMs)
}

/** Answers are stamped when they are read, which on a busy machine is a little later than they were given. */
const SLACK_MS = 50

const endMs = (fault: Fault) => fault.atMs + (fault.recoveredMs ?? Number.POSITIVE_INFINITY)

/** Faults that a figure may use. */
export const counted = (faults: readonly Fault[]): readonly Fault[] => faults.filter(({ warmUp }) => !warmUp)
