// Makes a schedule that fails as short as it can: entries are taken away, first many at once, as long as the same invariant breaks.
import { type Report, simulate } from './run.ts'
import { type Entry, type Size, scheduleOf } from './schedule.ts'

export interface Shrunk {
  readonly schedule: readonly Entry[]
  readonly report: Report
  readonly runs: number
}

/** `goOn` is asked before each run; when it says no, what was reached so far is the answer. */
export async function shrink(seed: number, size: Size, found: Report, goOn: () => boolean): Promise<Shrunk> {
  const broken = found.violations[0]
  let best: Shrunk = { schedule: scheduleOf(seed, size), report: found, runs: 0 }
  if (!broken) return best
  // What comes after the violation has no part in it.
  best = { ...best, schedule: best.schedule.filter(({ atMs }) => atMs <= broken.atMs) }
  let runs = 0
  for (let parts = 2; goOn(); ) {
    const { schedule } = best
    const length = Math.ceil(schedule.length / parts)
    let shorter: Shrunk | null = null
    for (let from = 0; from < schedule.length && shorter === null && goOn(); from += length) {
      const rest = [...schedule.slice(0, from), ...schedule.slice(from + length)]
      runs += 1
      const report = await simulate({ seed, size, schedule: rest })
      if (report.violations.some(({ invariant }) => invariant === broken.invariant)) shorter = { schedule: rest, report, runs }
    }
    if (shorter) {
      best = shorter
      parts = Math.max(2, parts - 1)
    } else if (length <= 1) break
    else parts = Math.min(schedule.length, parts * 2)
  }
  return { ...best, runs }
}
