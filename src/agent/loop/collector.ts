// Garbage collection of this node: surveys, lets reconcile/garbage choose, and has what is due collected, at most so much per cycle.
//
// Promises: nothing is collected on the word of an old listing, for each cycle lists anew; what was chosen is looked at once more right
// before it goes; one cycle runs at a time; every deletion is one log line, one count, and one message that is repeated until the
// control plane has stored it. Asked by hand it keeps every guard too.
import type { Clock, Random } from '../../base/clock.ts'
import { waitAtMost } from '../../base/deadline.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { type Collected, GARBAGE, type GarbageCandidate, type GarbageItem, type GarbageReport } from '../../contracts/garbage.ts'
import type { GcConfig } from '../../contracts/gc-config.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Candidate, Choice, GarbageTarget, KeptEvidence, KeptLogs, PulledImage } from '../model/garbage.ts'
import { dueNow, garbage } from '../reconcile/garbage.ts'
import type { Entry } from './entry.ts'
import type { Survey } from './survey.ts'

export interface CollectorLimits {
  readonly collectsAtOnce: number
  readonly evidenceMax: number
  readonly evidenceBytesMax: number
  readonly gcListPatienceMs: number
  readonly gcAnswerMs: number
  readonly weighedMax: number
}

export interface CollectorDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly meter: Meter
  readonly config: GcConfig
  readonly limits: CollectorLimits
  readonly runtimes: readonly Runtime[]
  readonly entries: ReadonlyMap<InstanceId, Entry>
  readonly survey: Survey
  /** Lists one runtime; tells the survey. */
  scan(runtime: Runtime): Promise<void>
  usable(runtime: Runtime): boolean
  keptLogs(): Promise<Result<readonly KeptLogs[], Failure>>
  evidence(): Promise<Result<readonly KeptEvidence[], Failure>>
  images(signal: AbortSignal): Promise<Result<readonly PulledImage[], Failure>>
  /** Null = not known. */
  weigh(target: GarbageTarget, signal: AbortSignal): Promise<number | null>
  collect(target: Exclude<GarbageTarget, { what: 'instance' }>, stray: boolean, signal: AbortSignal): Promise<Result<void, Failure>>
  /** Has an instance go as if it were wished deleted. */
  disown(id: InstanceId): void
  /** What is seen of it has changed. */
  lookAgain(id: InstanceId): void
  /** Keeps the news until the control plane has it. */
  tell(collected: Collected): void
}

export interface Asked {
  readonly dryRun: boolean
  readonly images: boolean
  readonly unknown: boolean
}

const BY_ITSELF: Asked = { dryRun: false, images: false, unknown: false }

/** What a cycle has come to so far. */
interface Outcome {
  choice: Choice
  readonly collected: GarbageItem[]
  readonly notes: string[]
}

export class Collector {
  readonly #deps: CollectorDeps
  readonly #closing = new AbortController()
  #line: Promise<unknown> = Promise.resolve()
  #since: ReadonlyMap<string, number> = new Map()
  #last: Choice = { candidates: [], since: new Map() }
  #unknown: Set<InstanceId> | null = null
  #held = 0
  #cancelTimer = () => {}

  constructor(deps: CollectorDeps) {
    this.#deps = deps
    deps.meter.gauge('gc_candidates', () =>
      GARBAGE.map(({ kind, reason }) => ({
        labels: { kind, reason },
        value: this.#last.candidates.filter((one) => one.kind === kind && one.reason === reason).length,
      })),
    )
  }

  /** From now on by itself, every interval. */
  start(): void {
    const { clock, config } = this.#deps
    if (!config.enabled || this.#closing.signal.aborted) return
    this.#cancelTimer = clock.after(config.intervalMs, () => void this.#inLine(BY_ITSELF).finally(() => this.start()))
  }

  /** The control plane has told all it wishes of this node. */
  welcomed(wished: ReadonlySet<InstanceId>): void {
    this.#unknown = new Set([...this.#deps.entries.keys()].filter((id) => !wished.has(id)))
  }

  /** It wishes these. */
  known(ids: Iterable<InstanceId>): void {
    for (const id of ids) this.#unknown?.delete(id)
  }

  /** A question from people. What is collected goes on when the answer does not wait for it any more. */
  async ask(asked: Asked): Promise<GarbageReport> {
    const { clock, limits } = this.#deps
    const outcome: Outcome = { choice: this.#last, collected: [], notes: [] }
    const cycle = this.#inLine(asked, outcome)
    let done = false
    await waitAtMost(
      clock,
      limits.gcAnswerMs,
      cycle.then(() => {
        done = true
      }),
    )
    const notes = done ? outcome.notes : [...outcome.notes, 'It is still being collected; ask again to see the rest.']
    const gone = new Set(outcome.collected.map(keyOf))
    const candidates = outcome.choice.candidates.map(candidateItem).filter((one) => !gone.has(keyOf(one)))
    return { candidates, collected: [...outcome.collected], notes }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the agent is closing'))
    this.#cancelTimer()
    await this.#line
  }

  /** One cycle at a time. */
  #inLine(asked: Asked, into: Outcome = { choice: this.#last, collected: [], notes: [] }): Promise<void> {
    const done = this.#line.then(async () => {
      try {
        if (!this.#closing.signal.aborted) await this.#cycle(asked, into)
      } catch (error) {
        this.#deps.log.error('garbage collection failed', {
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        })
      }
    })
    this.#line = done
    return done
  }

  async #cycle(asked: Asked, into: Outcome): Promise<void> {
    const { config, limits, log } = this.#deps
    const choice = await this.#choose(asked, into.notes)
    into.choice = choice
    if (asked.dryRun) {
      into.choice = await this.#weighed(choice)
      return
    }
    this.#tellHeld(choice, into.notes)
    const due = [...dueNow(choice, config.perCycleMax)]
    const left = choice.candidates.filter((one) => one.due).length - due.length
    if (left > 0) into.notes.push(`${left} more are due: a cycle collects ${config.perCycleMax} at most.`)
    const worker = async () => {
      for (let next = due.shift(); next && !this.#closing.signal.aborted; next = due.shift()) {
        const item = await this.#collect(next)
        if (item.ok) into.collected.push(item.value)
        else {
          into.notes.push(`${next.kind} ${nameOf(next.target)} was left: ${item.error.detail}`)
          log.warn('resource not collected', {
            kind: next.kind,
            id: nameOf(next.target),
            error_code: item.error.code,
            error: item.error.detail,
          })
        }
      }
    }
    await Promise.all(Array.from({ length: limits.collectsAtOnce }, worker))
    const gone = new Set(into.collected.map(keyOf))
    this.#last = { ...choice, candidates: choice.candidates.filter((one) => !gone.has(keyOf(itemOf(one)))) }
  }

  /** What is left until a person says so: in each report, and in the log when it changes. */
  #tellHeld({ candidates }: Choice, notes: string[]): void {
    const count = candidates.filter(({ due, dueInMs }) => !due && dueInMs === null).length
    if (count > 0) notes.push(`${count} are held back, because a memory may be lost; holdfast gc --unknown collects them.`)
    if (count > 0 && count !== this.#held) this.#deps.log.warn('garbage held back', { count })
    this.#held = count
  }

  /** Lists every runtime anew; one that does not answer in time is left out, with all that depends on it. */
  async #choose(asked: Asked, notes: string[]): Promise<Choice> {
    const { clock, config, limits, survey, runtimes, usable } = this.#deps
    const begunMs = clock.elapsedMs()
    const list = async (runtime: Runtime) => {
      await this.#deps.scan(runtime)
      // It may have been one that was under way already.
      if (!survey.isListedSince(runtime, begunMs)) await this.#deps.scan(runtime)
    }
    await waitAtMost(clock, limits.gcListPatienceMs, Promise.all(runtimes.map(list)))
    const views = survey.runtimes((runtime) => usable(runtime) && survey.isListedSince(runtime, begunMs))
    for (const { runtime, trusted } of views)
      if (!trusted) notes.push(`${runtime}: it does not answer, or not completely; nothing of it is collected.`)
    if (this.#unknown === null) notes.push('The control plane has not told its wishes since this agent began; no strays are collected.')
    const [kept, evidence] = await Promise.all([this.#deps.keptLogs(), this.#deps.evidence()])
    const images = asked.images ? await this.#deps.images(this.#closing.signal) : null
    for (const read of [kept, evidence, images]) if (read && !read.ok) notes.push(read.error.detail)
    const choice = garbage({
      elapsedMs: clock.elapsedMs(),
      wallMs: clock.wallMs(),
      runtimes: views,
      instances: survey.instances(),
      unknownToControl: this.#unknown,
      kept: kept.ok ? kept.value : [],
      evidence: evidence.ok ? evidence.value : [],
      images: images?.ok ? images.value : null,
      releaseUnknown: asked.unknown,
      since: this.#since,
      config,
      limits,
    })
    this.#since = choice.since
    this.#last = choice
    return choice
  }

  async #weighed(choice: Choice): Promise<Choice> {
    const { limits, weigh } = this.#deps
    const signal = this.#closing.signal
    const weighed = await Promise.all(
      choice.candidates
        .slice(0, limits.weighedMax)
        .map(async (one) => (one.bytes === null ? { ...one, bytes: await weigh(one.target, signal) } : one)),
    )
    return { ...choice, candidates: [...weighed, ...choice.candidates.slice(limits.weighedMax)] }
  }

  async #collect(candidate: Candidate): Promise<Result<GarbageItem, Failure>> {
    const { clock, random, log, meter, tell } = this.#deps
    const { target, kind, reason } = candidate
    const bytes = candidate.bytes ?? (await this.#deps.weigh(target, this.#closing.signal))
    const changed = this.#changed(candidate)
    if (changed !== null) return { ok: false, error: { code: 'wrong_state', detail: changed } }
    if (target.what === 'instance') this.#deps.disown(target.id)
    else {
      const done = await this.#deps.collect(target, reason === 'no_instance', this.#closing.signal)
      if (target.what === 'object') this.#deps.lookAgain(target.id)
      if (!done.ok) return done
    }
    const item = { ...itemOf(candidate), bytes }
    log.info('resource collected', {
      kind,
      id: item.id,
      reason,
      age_ms: Math.round(item.ageMs),
      ...(item.incarnation !== null && { incarnation: item.incarnation }),
      bytes,
    })
    meter.count('gc_deleted_total', { kind, reason })
    tell({ ...item, key: random.text(20), atMs: clock.wallMs() })
    return { ok: true, value: item }
  }

  /** What made it garbage, looked at again; null = it still does. No wait lies between this and its removal. */
  #changed({ target, reason }: Candidate): string | null {
    const { entries, survey, usable } = this.#deps
    if (target.what === 'object' || target.what === 'instance') {
      if (!usable(target.runtime) || survey.series(target.runtime) !== target.series) return `${target.runtime} was away meanwhile.`
      const stray = reason === 'no_instance'
      if (stray ? entries.has(target.id) : !survey.isUntouched(target.id)) return 'Something has happened to it meanwhile.'
    }
    if (target.what === 'instance' && !this.#unknown?.has(target.id)) return 'The control plane knows it by now.'
    if (target.what === 'logs') {
      const incarnation = entries.get(target.id)?.record.incarnation
      if (incarnation !== undefined && (incarnation <= target.incarnation || !survey.isUntouched(target.id)))
        return 'Something has happened to it meanwhile.'
    }
    return null
  }
}

const nameOf = (target: GarbageTarget): string => (target.what === 'image' ? target.image : target.id)

function itemOf({ kind, reason, detail, ageMs, bytes, target }: Candidate): GarbageItem {
  const incarnation = 'incarnation' in target ? target.incarnation : null
  const runtime = 'runtime' in target ? target.runtime : null
  return { kind, reason, detail, ageMs: Math.round(ageMs), bytes, id: nameOf(target), incarnation, runtime }
}

const candidateItem = (candidate: Candidate): GarbageCandidate => ({
  ...itemOf(candidate),
  due: candidate.due,
  dueInMs: candidate.dueInMs === null ? null : Math.round(candidate.dueInMs),
})

const keyOf = ({ kind, id, incarnation }: Pick<GarbageItem, 'kind' | 'id' | 'incarnation'>): string => `${kind} ${id} ${incarnation}`
