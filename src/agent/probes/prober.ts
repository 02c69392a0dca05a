// Runs the checks of living instances, each on its own schedule, and tells what they found. It judges nothing.
//
// Promises: a check never overlaps itself; nothing is told of a subject after `drop`, nor of an older incarnation after `set`; not more
// than `concurrencyMax` checks run at once, the others wait in line, and their deadlines begin when they do; one timer serves all.
// Ready and live checks begin when the start checks have passed; start checks end when they have. A check that has not passed yet
// and whose failures do not count is repeated quickly, so that a start is noticed when it happens and not an interval later.
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { Runtime } from '../../contracts/spec.ts'
import { type Measured, type Measurement, type PlannedCheck, plannedChecks } from '../model/check.ts'
import { measure } from './measure.ts'
import { inconclusive } from './outcome.ts'
import { type Evidence, type Run, runsOf, type Subject } from './tasks.ts'
import { createTimeline } from './timeline.ts'

export interface ProberDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly config: ReliabilityConfig['healthCheck']
  readonly drivers: ReadonlyMap<Runtime, Evidence>
  readonly concurrencyMax?: number
  onResult(measured: Measured): void
}

export interface Prober {
  /** Begins at once; replaces what was watched under the same id. */
  set(subject: Subject): void
  /** Ends its checks; unknown or again: no effect. */
  drop(id: InstanceId): void
  /** Ends all; resolves when nothing runs, or after a second when a run ignores its signal. */
  close(): Promise<void>
}

const CONCURRENCY_MAX = 64
const JITTER = 0.1
/** First repeats of a check that waits for a start; doubled each time. Running a command costs more than connecting. */
const PACE_MS = { exec: 250, other: 50 } as const
const PACE_MS_MAX = 1000
/** Woken later than this, the agent had been asleep: results before and after are not "in a row". */
const ASLEEP_MS = 5000
const CLOSE_MS = 1000

interface Watch {
  readonly subject: Subject
  readonly ended: AbortController
  readonly tasks: readonly Task[]
  /** Elapsed time at which the incarnation was born. */
  readonly bornMs: number
}

interface Task {
  readonly index: number
  readonly check: PlannedCheck
  readonly run: Run
  passesInRow: number
  paceMs: number
  wokenLate: boolean
  /** A run beyond its deadline that has not ended: the next one must not begin. */
  hanging: boolean
}

type Due = readonly [Watch, Task]

export function createProber(deps: ProberDeps): Prober {
  const { clock, log } = deps
  const concurrencyMax = deps.concurrencyMax ?? CONCURRENCY_MAX
  const watches = new Map<InstanceId, Watch>()
  const line: Due[] = []
  const running = new Set<Promise<void>>()
  const timeline = createTimeline<Due>(clock, ([watch, task], lateMs) => {
    if (watch.ended.signal.aborted) return
    if (lateMs > ASLEEP_MS) task.wokenLate = true
    line.push([watch, task])
    pump()
  })

  const pump = () => {
    for (let due = line[0]; due && running.size < concurrencyMax; due = line[0]) {
      line.shift()
      if (due[0].ended.signal.aborted) continue
      const done = runOne(...due).finally(() => {
        running.delete(done)
        pump()
      })
      running.add(done)
    }
  }
  const runOne = async (watch: Watch, task: Task) => {
    const startMs = clock.elapsedMs()
    const measurement = await runOnce(watch, task)
    if (watch.ended.signal.aborted) return
    tell(watch, task, measurement)
    // Told results may have changed what is watched.
    if (!watch.ended.signal.aborted) schedule(watch, task, startMs)
  }
  const runOnce = async (watch: Watch, task: Task): Promise<Measurement> => {
    const { timeoutMs, name } = task.check
    if (task.hanging) return { kind: 'fail', reason: 'timeout', detail: 'an earlier run has not ended yet', durationMs: 0 }
    const guarded: Run = async (signal) => {
      try {
        return await task.run(signal)
      } catch (error) {
        if (!signal.aborted) log.error('check could not be run', { instance_id: watch.subject.id, check: name, error: String(error) })
        return inconclusive('the agent could not run it')
      }
    }
    const { measurement, ended } = measure(clock, guarded, timeoutMs, watch.ended.signal)
    task.hanging = true
    void ended.then(() => {
      task.hanging = false
    })
    return measurement
  }
  const tell = ({ subject, bornMs }: Watch, task: Task, measurement: Measurement) => {
    task.passesInRow = measurement.kind === 'pass' ? task.passesInRow + 1 : 0
    const { wokenLate } = task
    task.wokenLate = false
    const { id, incarnation } = subject
    try {
      deps.onResult({ id, incarnation, index: task.index, atMs: clock.wallMs(), ageMs: clock.elapsedMs() - bornMs, wokenLate, measurement })
    } catch (error) {
      log.error('check result was not taken', {
        instance_id: id,
        check: task.check.name,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      })
    }
  }
  const schedule = (watch: Watch, task: Task, startMs: number) => {
    const { check } = task
    if (check.kind === 'start' && task.passesInRow >= check.successThreshold) {
      if (watch.tasks.every(isDone))
        for (const other of watch.tasks) if (waitsForStart(other)) timeline.add([watch, other], clock.elapsedMs())
      return
    }
    timeline.add([watch, task], Math.max(clock.elapsedMs(), startMs + delayMs(watch, task)))
  }
  const delayMs = (watch: Watch, task: Task) => {
    const { check } = task
    if (task.passesInRow >= check.successThreshold) task.paceMs = Number.POSITIVE_INFINITY
    const ageMs = clock.elapsedMs() - watch.bornMs
    if (check.kind === 'start' || ageMs < check.graceMs) {
      const paceMs = Math.min(task.paceMs, check.intervalMs)
      task.paceMs = Math.min(task.paceMs * 2, Math.max(PACE_MS_MAX, task.paceMs))
      if (paceMs < check.intervalMs) return paceMs
    }
    return check.intervalMs * (1 + JITTER * (2 * deps.random.fraction() - 1))
  }

  return {
    set(subject) {
      watches.get(subject.id)?.ended.abort(new Error('watched anew'))
      const evidence = deps.drivers.get(subject.spec.runtime)
      if (!evidence) return void watches.delete(subject.id)
      const watch: Watch = {
        subject,
        ended: new AbortController(),
        tasks: tasksOf(subject, evidence, deps.config),
        bornMs: clock.elapsedMs() - Math.max(0, clock.wallMs() - subject.startedAtMs),
      }
      watches.set(subject.id, watch)
      const gated = watch.tasks.some(({ check }) => check.kind === 'start')
      for (const task of watch.tasks) if (!(gated && waitsForStart(task))) timeline.add([watch, task], clock.elapsedMs())
    },
    drop(id) {
      watches.get(id)?.ended.abort(new Error('no longer watched'))
      watches.delete(id)
    },
    async close() {
      timeline.close()
      for (const id of [...watches.keys()]) this.drop(id)
      const late = new AbortController()
      await Promise.race([Promise.all(running).then(() => late.abort()), clock.sleep(CLOSE_MS, late.signal).catch(() => {})])
    },
  }
}

function tasksOf(subject: Subject, evidence: Evidence, config: ReliabilityConfig['healthCheck']): readonly Task[] {
  const runs = runsOf(subject, evidence)
  return plannedChecks(subject.spec, config).flatMap((check, index) => {
    const run = runs[index]
    const paceMs = subject.spec.health[index - 1]?.type === 'exec' ? PACE_MS.exec : PACE_MS.other
    return run ? [{ index, check, run, passesInRow: 0, paceMs, wokenLate: false, hanging: false }] : []
  })
}

const waitsForStart = ({ check }: Task) => check.kind === 'ready' || check.kind === 'live'
const isDone = ({ check, passesInRow }: Task) => check.kind !== 'start' || passesInRow >= check.successThreshold
