// One chaos run against one install: launches instances of its own, harms only these, and keeps the ledger.
import type { Clock, Random } from '../../base/clock.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceInput } from '../../contracts/spec.ts'
import type { Host, Target } from './host.ts'
import type { Expectation, Fault } from './ledger.ts'
import { type Beat, Oracle } from './oracle.ts'
import { ownPid } from './own-process.ts'
import { workload } from './workload.ts'

export interface Strike {
  readonly target: Target | null
  readonly kind: string
  readonly group: string
  readonly expects: Expectation
  /** Does it; whatever it needs to know (a pid) is looked up before, so that this takes no time. */
  readonly apply: () => void | Promise<void>
  /** Ends what does not end by itself. */
  readonly lift?: { readonly afterMs: number; readonly run: () => void | Promise<void> }
  /** What else has to be true before it counts as well again; alone, where no heartbeat can tell. Asked again and again. */
  readonly until?: () => Promise<boolean>
  /** How the first line of `why` must name it. Asked once after so long; where nothing is said, at two moments, of which both are told. */
  readonly cause?: RegExp
  readonly whyAfterMs?: number
  /** Whether it has to be counted as an orphan; where nothing is said, it has to if a recovery is expected. */
  readonly orphans?: boolean
  /** Watched for so long after the fault; what has not recovered then is censored, not dropped. */
  readonly watchMs: number
}

export interface RigOptions {
  readonly host: Host
  readonly clock: Clock
  readonly random: Random
  readonly run: string
  readonly launchWithinMs: number
  readonly note: (line: string) => Promise<void>
}

const WHY_AFTER_MS = 500
const WHY_LATER_MS = 2000
const DELETE_WITHIN_MS = 60_000
/** What was ended by wish may not serve again within this time. */
const REST_MS = 5000
/** Judged by the heartbeat of the instance itself. */
const BEATS: ReadonlySet<Expectation> = new Set(['recovery', 'patience', 'wish'])

export class Rig {
  readonly host: Host
  readonly clock: Clock
  readonly random: Random
  readonly run: string
  readonly oracle: Oracle
  readonly note: (line: string) => Promise<void>
  readonly faults: Fault[] = []
  readonly targets: Target[] = []
  readonly #launchWithinMs: number
  /** Faults before this elapsed time are warm-up. */
  #fromMs = 0
  readonly #closers: (() => Promise<void>)[] = []

  constructor({ host, clock, random, run, launchWithinMs, note }: RigOptions) {
    this.host = host
    this.clock = clock
    this.random = random
    this.run = run
    this.note = note
    this.#launchWithinMs = launchWithinMs
    this.oracle = new Oracle({ clock, random })
  }

  /** Launches one and watches it; does not wait for it. */
  async add(name: string, more: Partial<InstanceInput> = {}): Promise<Result<Target, Failure>> {
    const launched = await this.host.launch({ ...workload({ name, run: this.run, more }), name })
    if (!launched.ok) return launched
    this.targets.push(launched.value)
    this.oracle.watch(name, () => this.host.port(launched.value))
    return launched
  }

  /** Launches these and waits until each has answered through its port. */
  async launch(count: number, prefix = 'chaos', more: Partial<InstanceInput> = {}): Promise<Result<readonly Target[], Failure>> {
    const made: Target[] = []
    for (let index = 0; index < count; index += 1) {
      const added = await this.add(`${prefix}-${this.run}-${index}`, more)
      if (!added.ok) return added
      made.push(added.value)
    }
    const deadline = this.clock.elapsedMs() + this.#launchWithinMs
    for (const target of made) {
      while (this.oracle.firstBeatMs(target.name) === null) {
        if (this.clock.elapsedMs() > deadline) {
          const why = await this.host.why(target)
          return err(failure('internal', `${target.name} did not serve in time: ${why ?? 'nobody can say why'}`))
        }
        await this.clock.sleep(20)
      }
    }
    return ok(made)
  }

  get countFromMs(): number {
    return this.#fromMs
  }
  /** Faults of this time are in the ledger and in no figure. */
  warmUpFor(ms: number): void {
    this.#fromMs = this.clock.elapsedMs() + ms
  }

  /** Does it, and resolves when the instance serves again or the watch is over. */
  async strike(strike: Strike): Promise<Fault> {
    const { target, expects } = strike
    const before = target && this.oracle.serving(target.name)
    const atMs = this.clock.elapsedMs()
    const fault: Fault = {
      number: this.faults.length + 1,
      kind: strike.kind,
      group: strike.group,
      expects,
      name: target?.name ?? null,
      instanceId: target?.id ?? null,
      atMs,
      at: new Date(this.clock.wallMs()).toISOString(),
      lifeBefore: before?.life ?? null,
      warmUp: atMs < this.#fromMs,
      lifeAfter: null,
      recoveredMs: null,
      watchedMs: strike.watchMs,
      downMs: null,
      orphans: strike.orphans ?? expects === 'recovery',
      why: null,
      whyNamesCause: null,
      whyLater: null,
      whyLaterNamesCause: null,
    }
    this.faults.push(fault)
    const watching = this.#watch(strike, fault)
    await strike.apply()
    await Promise.all([watching, this.#ask(strike, fault), this.#lift(strike)])
    return fault
  }

  /** Fills in how it ended. */
  async #watch({ target, expects, until, lift, watchMs }: Strike, fault: Fault): Promise<void> {
    const liftedAtMs = fault.atMs + (lift?.afterMs ?? 0)
    const fits = (beat: Beat) => (expects === 'patience' ? beat.atMs >= liftedAtMs : beat.life !== fault.lifeBefore)
    let wellAtMs: number | null = null
    if (BEATS.has(expects) && target) {
      const beat = await this.oracle.next(target.name, fits, watchMs)
      if (!beat) return
      fault.lifeAfter = beat.life
      wellAtMs = beat.atMs
    }
    if (until) {
      // Of what lasts, the moment before its end proves nothing.
      await this.clock.sleep(Math.max(0, liftedAtMs - this.clock.elapsedMs()))
      wellAtMs = await this.#until(until, fault.atMs + watchMs)
    }
    if (expects === 'rest' && target && wellAtMs !== null)
      fault.lifeAfter = (await this.oracle.next(target.name, () => true, REST_MS))?.life ?? null
    if (wellAtMs !== null)
      fault.recoveredMs = Math.max(0, wellAtMs - (expects === 'patience' || expects === 'trouble' ? liftedAtMs : fault.atMs))
  }

  async #until(done: () => Promise<boolean>, deadlineMs: number): Promise<number | null> {
    while (this.clock.elapsedMs() < deadlineMs) {
      if (await done()) return this.clock.elapsedMs()
      await this.clock.sleep(50)
    }
    return null
  }

  async #lift({ lift }: Strike): Promise<void> {
    if (!lift) return
    await this.clock.sleep(lift.afterMs)
    await lift.run()
  }

  async #ask({ target, cause, whyAfterMs }: Strike, fault: Fault): Promise<void> {
    if (!target || !cause) return
    const askAt = async (afterMs: number) => {
      await this.clock.sleep(Math.max(0, fault.atMs + afterMs - this.clock.elapsedMs()))
      const said = await this.host.why(target)
      return { said, named: said === null ? null : cause.test(said) }
    }
    const first = await askAt(whyAfterMs ?? WHY_AFTER_MS)
    fault.why = first.said
    fault.whyNamesCause = first.named
    if (whyAfterMs !== undefined) return
    const later = await askAt(WHY_LATER_MS)
    fault.whyLater = later.said
    fault.whyLaterNamesCause = later.named
  }

  /** The process on this host that serves a target now, if it is surely one of ours: it carries the mark of this run. Never 1. */
  ownPid(target: Target): number | null {
    const serving = this.oracle.serving(target.name)
    return serving && ownPid({ run: this.run, name: target.name, pid: serving.pid })
  }

  /** Goes on until what was launched is deleted. */
  atEnd(close: () => Promise<void>): void {
    this.#closers.push(close)
  }

  /** Deletes what it launched and waits for that. */
  async clean(): Promise<void> {
    await this.oracle.close()
    for (const target of this.targets) await this.host.wish(target, 'delete')
    const deadline = this.clock.elapsedMs() + DELETE_WITHIN_MS
    for (const target of this.targets) {
      for (;;) {
        const state = await this.host.state(target)
        if (state === null || state === 'deleted' || this.clock.elapsedMs() > deadline) break
        await this.clock.sleep(100)
      }
    }
    for (const close of this.#closers.reverse()) await close()
  }
}
