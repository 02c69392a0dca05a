// The runtime of one node as one life of its agent sees it: the fake driver, with the time that calls and answers take, with events
// that come late or not at all, and with a note in the ledger of each call that starts or ends something. The runtime outlives the
// agent: what it was asked for in the agent's last moment it does at once or never.
import type { Driver, DriverEvent, Emit, ExecOptions, LogOptions, StopOptions, Target, Wanted } from '../../src/agent/drivers/driver.ts'
import { err, ok, type Result } from '../../src/base/result.ts'
import { type Failure, failure } from '../../src/contracts/errors.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { Chance } from './chance.ts'
import type { LifeClock } from './clock.ts'

export type Verb = 'list' | 'inspect' | 'prepare' | 'start' | 'stop' | 'remove' | 'pause' | 'resume' | 'probe' | 'exec' | 'forget'

/** How the runtime fares; a matter of the node, not of a life of its agent. */
export interface RuntimeMood {
  latencyMs: number
  /** How much longer the answer to a listing takes than that to anything else. */
  listingMs: number
  eventsLost: boolean
  refusesStarts: boolean
  /** Instances whose commands fail, and those whose commands never end. */
  readonly sick: Set<InstanceId>
  readonly hanging: Set<InstanceId>
}

export interface CallHooks {
  /** Before the runtime hears of it, and after it has done it. May kill the agent. */
  readonly onCall: (verb: Verb, moment: 'before' | 'after') => void
  readonly onStart: (want: Wanted) => void
  readonly onStop: (target: Target) => void
  readonly onRemove: (target: Target) => void
  /** The runtime has made it, or will not; the agent hears of it a little later. */
  readonly onAnswer: (want: Wanted) => void
  /** A check of it passed, or did not: it failed, or took long. */
  readonly onCheck: (target: Target, passed: boolean) => void
}

/** Checks are given two seconds or more. */
const SLOW_CHECK_MS = 1500

const never = new Promise<never>(() => {})

export class SimDriver implements Driver {
  readonly runtime = 'fake'
  readonly can = { exec: true, pause: true, stats: true }
  readonly images = null
  readonly #inner: Driver
  readonly #life: LifeClock
  /** Of the machine: the runtime goes on when the agent is gone. */
  readonly #clock: LifeClock
  readonly #mood: RuntimeMood
  readonly #chance: Chance
  readonly #hooks: CallHooks
  readonly #dying = new Set<() => void>()

  constructor(inner: Driver, life: LifeClock, clock: LifeClock, mood: RuntimeMood, chance: Chance, hooks: CallHooks) {
    this.#inner = inner
    this.#life = life
    this.#clock = clock
    this.#mood = mood
    this.#chance = chance
    this.#hooks = hooks
  }

  status(signal: AbortSignal) {
    return this.#inner.status(signal)
  }

  watch(onEvent: (event: DriverEvent) => void): Promise<void> {
    return this.#inner.watch((event) => {
      if (this.#mood.eventsLost && event.kind === 'instance') return
      this.#life.after(this.#chance.between(0.2, 5), () => onEvent(event))
    })
  }

  async list(signal: AbortSignal) {
    const listed = await this.#call('list', signal, (inner) => this.#inner.list(inner))
    if (this.#mood.listingMs > 0) await this.#life.sleep(this.#mood.listingMs, signal).catch(() => {})
    return listed
  }
  inspect(id: InstanceId, signal: AbortSignal) {
    return this.#call('inspect', signal, (inner) => this.#inner.inspect(id, inner))
  }
  async prepare(want: Wanted, signal: AbortSignal) {
    const done = await this.#call('prepare', signal, (inner) => this.#inner.prepare(want, inner))
    if (!done.ok) this.#hooks.onAnswer(want)
    return done
  }
  async start(want: Wanted, signal: AbortSignal) {
    this.#hooks.onStart(want)
    const done = await this.#call('start', signal, async (inner) => {
      if (this.#mood.refusesStarts) return err(failure('start_failed', 'The runtime is out of order (simulated).'))
      const made = await this.#inner.start(want, inner)
      if (made.ok) this.#hooks.onAnswer(want)
      return made
    })
    if (!done.ok) this.#hooks.onAnswer(want)
    return done
  }
  stop(target: Target, options: StopOptions, signal: AbortSignal) {
    this.#hooks.onStop(target)
    return this.#call('stop', signal, (inner) => this.#inner.stop(target, options, inner))
  }
  remove(target: Target, signal: AbortSignal) {
    this.#hooks.onRemove(target)
    return this.#call('remove', signal, (inner) => this.#inner.remove(target, inner))
  }
  pause(target: Target, signal: AbortSignal) {
    return this.#call('pause', signal, (inner) => this.#inner.pause(target, inner))
  }
  resume(target: Target, signal: AbortSignal) {
    return this.#call('resume', signal, (inner) => this.#inner.resume(target, inner))
  }
  probe(target: Target, signal: AbortSignal) {
    return this.#checked(target, signal, () => this.#call('probe', signal, (inner) => this.#inner.probe(target, inner)))
  }
  exec(target: Target, options: ExecOptions, emit: Emit | null, signal: AbortSignal): Promise<Result<number, Failure>> {
    const run = async (inner: AbortSignal) => {
      if (this.#mood.sick.has(target.id)) return ok(1)
      if (!this.#mood.hanging.has(target.id)) return this.#inner.exec(target, options, emit, inner)
      await this.#clock.sleep(options.timeoutMs, inner).catch(() => {})
      return err(failure('exec_failed', 'It did not end in time and was killed (simulated).', { timed_out: true }))
    }
    return this.#checked(target, signal, () => this.#call('exec', signal, run))
  }
  forget(id: InstanceId) {
    return this.#call('forget', new AbortController().signal, () => this.#inner.forget(id))
  }
  logs(target: Target, options: LogOptions, emit: Emit, signal: AbortSignal) {
    return this.#inner.logs(target, options, emit, signal)
  }
  stats(target: Target, signal: AbortSignal) {
    return this.#inner.stats(target, signal)
  }

  weigh(target: Target, signal: AbortSignal) {
    return this.#inner.weigh(target, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]()
  }

  /** The agent was killed. */
  die(): void {
    void this.#inner[Symbol.asyncDispose]()
    for (const end of [...this.#dying]) end()
  }

  async #checked<T>(target: Target, signal: AbortSignal, run: () => Promise<Result<T, Failure>>): Promise<Result<T, Failure>> {
    const beganMs = this.#clock.elapsedMs()
    const result = await run()
    const late = signal.aborted || this.#clock.elapsedMs() - beganMs > SLOW_CHECK_MS
    const failed = result.ok ? typeof result.value === 'number' && result.value !== 0 : result.error.code !== 'runtime_unreachable'
    if (late || failed) this.#hooks.onCheck(target, false)
    if (result.ok && !failed && !signal.aborted) this.#hooks.onCheck(target, true)
    return result
  }

  /** The way there, the work, the way back. */
  async #call<T>(verb: Verb, signal: AbortSignal, run: (signal: AbortSignal) => Promise<Result<T, Failure>>): Promise<Result<T, Failure>> {
    this.#hooks.onCall(verb, 'before')
    if (this.#life.dead) return never
    const heard = await this.#reach(signal)
    if (heard === 'aborted') return err(failure('cancelled', `${verb} was given up.`))
    if (heard === 'dropped') return never
    const inner = new AbortController()
    const abort = () => inner.abort(signal.reason)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    // A runtime in a process of its own goes on, one that is a child of the agent does not.
    const dies = () => this.#chance.happens(0.5) && abort()
    this.#dying.add(dies)
    try {
      const result = await run(inner.signal)
      if (this.#life.dead) return never
      this.#hooks.onCall(verb, 'after')
      if (this.#life.dead) return never
      // Checks are by far the most calls, and nothing waits for their answers.
      if (verb !== 'exec' && verb !== 'probe') await this.#life.sleep(this.#latencyMs(), signal).catch(() => {})
      return result
    } finally {
      this.#dying.delete(dies)
      signal.removeEventListener('abort', abort)
    }
  }

  #reach(signal: AbortSignal): Promise<'heard' | 'aborted' | 'dropped'> {
    return new Promise((resolve) => {
      const settle = (how: 'heard' | 'aborted' | 'dropped') => {
        cancel()
        this.#dying.delete(dies)
        signal.removeEventListener('abort', aborted)
        resolve(how)
      }
      const cancel = this.#clock.after(this.#latencyMs(), () => settle('heard'))
      const dies = () => settle(this.#chance.happens(0.5) ? 'heard' : 'dropped')
      const aborted = () => settle('aborted')
      this.#dying.add(dies)
      if (signal.aborted) settle('aborted')
      else signal.addEventListener('abort', aborted, { once: true })
    })
  }

  #latencyMs(): number {
    return this.#mood.latencyMs * (0.2 + this.#chance.fraction())
  }
}
