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
import { type Measured, type Measurement, type PlannedCheck, plannedChecks, type Subject } from '../model/check.ts'
import { measure } from './measure.ts'
import { inconclusive } from './outcome.ts'
import { type Evidence, type Run, runsOf } from './tasks.ts'
import { createTimeline, type Timeline } from './timeline.ts'

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
  return new TimedProber(deps)
}

class TimedProber implements Prober {
  readonly #deps: ProberDeps
  readonly #watches = new Map<InstanceId, Watch>()
  readonly #line: Due[] = []
  readonly #running = new Set<Promise<void>>()
  readonly #timeline: Timeline<Due>

  constructor(deps: ProberDeps) {
    this.#deps = deps
    this.#timeline = createTimeline<Due>(deps.clock, ([watch, task], lateMs) => {
      if (watch.ended.signal.aborted) return
      if (lateMs > ASLEEP_MS) task.wokenLate = true
      this.#line.push([watch, task])
      this.#pump()
    })
  }

  set(subject: Subject): void {
    const { clock, config, drivers } = this.#deps
    this.drop(subject.id)
    const evidence = drivers.get(subject.spec.runtime)
    if (!evidence) return
    const bornMs = clock.elapsedMs() - Math.max(0, clock.wallMs() - subject.startedAtMs)
    const watch: Watch = { subject, ended: new AbortController(), tasks: tasksOf(subject, evidence, config), bornMs }
    this.#watches.set(subject.id, watch)
    const gated = watch.tasks.some(({ check }) => check.kind === 'start')
    const waits = subject.proven ? ({ check }: Task) => check.kind === 'start' : waitsForStart
    for (const task of watch.tasks) if (!(gated && waits(task))) this.#timeline.add([watch, task], clock.elapsedMs())
  }

  drop(id: InstanceId): void {
    this.#watches.get(id)?.ended.abort(new Error('no longer watched'))
    this.#watches.delete(id)
  }

  async close(): Promise<void> {
    this.#timeline.close()
    for (const id of [...this.#watches.keys()]) this.drop(id)
    const ended = new AbortController()
    const all = Promise.all(this.#running).then(() => ended.abort())
    await Promise.race([all, this.#deps.clock.sleep(CLOSE_MS, ended.signal).catch(() => {})])
  }

  #pump(): void {
    const concurrencyMax = this.#deps.concurrencyMax ?? CONCURRENCY_MAX
    for (let due = this.#line[0]; due && this.#running.size < concurrencyMax; due = this.#line[0]) {
      this.#line.shift()
      if (due[0].ended.signal.aborted) continue
      const done = this.#run(...due).finally(() => {
        this.#running.delete(done)
        this.#pump()
      })
      this.#running.add(done)
    }
  }

  async #run(watch: Watch, task: Task): Promise<void> {
    const startMs = this.#deps.clock.elapsedMs()
    const measurement = await this.#measure(watch, task)
    if (watch.ended.signal.aborted) return
    this.#tell(watch, task, measurement)
    // Told results may have changed what is watched.
    if (!watch.ended.signal.aborted) this.#schedule(watch, task, startMs)
  }

  async #measure({ subject, ended }: Watch, task: Task): Promise<Measurement> {
    const { clock, log } = this.#deps
    const { timeoutMs, name } = task.check
    if (task.hanging) return { kind: 'fail', reason: 'timeout', detail: 'an earlier run has not ended yet', durationMs: 0 }
    const guarded: Run = async (signal) => {
      try {
        return await task.run(signal)
      } catch (error) {
        if (!signal.aborted) log.error('check could not be run', { instance_id: subject.id, check: name, error: String(error) })
        return inconclusive('the agent could not run it')
      }
    }
    const measuring = measure(clock, guarded, timeoutMs, ended.signal)
    task.hanging = true
    void measuring.ended.then(() => {
      task.hanging = false
    })
    return measuring.measurement
  }

  #tell({ subject, bornMs }: Watch, task: Task, measurement: Measurement): void {
    const { clock, log, onResult } = this.#deps
    task.passesInRow = measurement.kind === 'pass' ? task.passesInRow + 1 : 0
    const { wokenLate, index } = task
    task.wokenLate = false
    const { id, incarnation } = subject
    try {
      onResult({ id, incarnation, index, atMs: clock.wallMs(), ageMs: clock.elapsedMs() - bornMs, wokenLate, measurement })
    } catch (error) {
      const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
      log.error('check result was not taken', { instance_id: id, check: task.check.name, error: stack })
    }
  }

  #schedule(watch: Watch, task: Task, startMs: number): void {
    const nowMs = this.#deps.clock.elapsedMs()
    if (task.check.kind !== 'start' || !isDone(task)) {
      this.#timeline.add([watch, task], Math.max(nowMs, startMs + this.#delayMs(watch, task)))
      return
    }
    if (watch.tasks.every(isDone)) for (const other of watch.tasks) if (waitsForStart(other)) this.#timeline.add([watch, other], nowMs)
  }

  #delayMs({ bornMs }: Watch, task: Task): number {
    const { clock, random } = this.#deps
    const { kind, intervalMs, successThreshold, graceMs } = task.check
    if (task.passesInRow >= successThreshold) task.paceMs = Number.POSITIVE_INFINITY
    if (kind === 'start' || clock.elapsedMs() - bornMs < graceMs) {
      const { paceMs } = task
      task.paceMs = Math.min(paceMs * 2, Math.max(PACE_MS_MAX, paceMs))
      if (paceMs < intervalMs) return paceMs
    }
    return intervalMs * (1 + JITTER * (2 * random.fraction() - 1))
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
