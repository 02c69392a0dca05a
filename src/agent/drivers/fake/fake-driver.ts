// A driver without a runtime: objects in memory, faults on command. It passes the same conformance suite as the real ones, so a test
// or simulation that holds against it means something. Time comes from the given clock; nothing happens by itself.
// `control.reopen()` is a restarted agent: a second driver over the same objects.
import type { Clock } from '../../../base/clock.ts'
import { durationText } from '../../../base/duration-text.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import type { RuntimeStatus, Stats } from '../../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import type { Exit } from '../../../contracts/phase.ts'
import type { Runtime } from '../../../contracts/spec.ts'
import type { Driver, DriverEvent, Emit, ExecOptions, Listing, LogOptions, LogsEnd, Seen, StopOptions, Target, Wanted } from '../driver.ts'
import { notRun } from '../not-run.ts'
import { type FakeChange, type FakeObject, FakeWorld, seenOf, shellCode } from './fake-world.ts'

export type FakeVerb =
  | 'list'
  | 'inspect'
  | 'prepare'
  | 'start'
  | 'stop'
  | 'remove'
  | 'pause'
  | 'resume'
  | 'probe'
  | 'logs'
  | 'exec'
  | 'stats'

export interface FakeControl {
  readonly world: FakeWorld
  /** The next `times` calls of the verb fail so; they change nothing. */
  failNext(verb: FakeVerb, given: Failure, times?: number): void
  /** The next `times` calls hang until their signal is aborted. */
  hangNext(verb: FakeVerb, times?: number): void
  /** The verb does its work and then reports the failure: an answer lost on its way. */
  failAfterNext(verb: FakeVerb, given: Failure, times?: number): void
  /** Takes back what was asked for and has not happened yet. */
  calm(): void
  /** While on, listings lack these instances (all, without ids) and say that they are not complete. */
  partialListings(on: boolean, hidden?: readonly InstanceId[]): void
  /** While off, every call fails with `runtime_unreachable`; what happens meanwhile raises no event. */
  reachable(on: boolean): void
  /** Every verb takes this long on the clock. */
  latency(ms: number): void
  /** The running object of the instance ends; `quiet` = the event is lost. */
  exit(id: InstanceId, how?: { code?: number | null; signal?: string | null; oom?: boolean; quiet?: boolean }): void
  /** What runs is no longer what was started (a reused pid, a replaced container). */
  replace(id: InstanceId): void
  live(id: InstanceId): readonly FakeObject[]
  reopen(): Driver
}

type Fault = { readonly kind: 'fail' | 'fail-after'; readonly given: Failure } | { readonly kind: 'hang' }

interface State {
  readonly clock: Clock
  readonly runtime: Runtime
  readonly world: FakeWorld
  readonly faults: Map<FakeVerb, Fault[]>
  readonly drivers: Set<FakeDriver>
  partial: { readonly hidden: readonly InstanceId[] | null } | null
  reachable: boolean
  latencyMs: number
}

export function createFakeDriver(options: { readonly clock: Clock; readonly runtime?: Runtime }): { driver: Driver; control: FakeControl } {
  const state: State = {
    clock: options.clock,
    runtime: options.runtime ?? 'fake',
    world: new FakeWorld(options.clock),
    faults: new Map(),
    drivers: new Set(),
    partial: null,
    reachable: true,
    latencyMs: 0,
  }
  return { driver: new FakeDriver(state), control: createControl(state) }
}

function createControl(state: State): FakeControl {
  const add = (verb: FakeVerb, fault: Fault, times: number) => {
    state.faults.set(verb, [...(state.faults.get(verb) ?? []), ...Array.from({ length: times }, () => fault)])
  }
  const live = (id: InstanceId) =>
    state.world.objects.filter((object) => object.want.id === id && object.state !== 'dead' && !object.removed)
  return {
    world: state.world,
    failNext: (verb, given, times = 1) => add(verb, { kind: 'fail', given }, times),
    failAfterNext: (verb, given, times = 1) => add(verb, { kind: 'fail-after', given }, times),
    hangNext: (verb, times = 1) => add(verb, { kind: 'hang' }, times),
    calm: () => state.faults.clear(),
    partialListings: (on, hidden) => {
      state.partial = on ? { hidden: hidden ?? null } : null
    },
    reachable: (on) => {
      if (state.reachable === on) return
      state.reachable = on
      for (const driver of state.drivers) driver.runtimeChanged(on)
    },
    latency: (ms) => {
      state.latencyMs = ms
    },
    exit: (id, how = {}) => {
      const end = {
        code: how.code ?? (how.signal === undefined && !how.oom ? 1 : null),
        signal: how.signal ?? (how.oom ? 'SIGKILL' : null),
      }
      for (const object of live(id)) state.world.end(object, { ...end, oom: how.oom ?? false }, how.quiet)
    },
    replace: (id) => {
      for (const object of live(id)) object.mismatch = true
    },
    live,
    reopen: () => new FakeDriver(state),
  }
}

class FakeDriver implements Driver {
  readonly can = { exec: true, pause: true, stats: true }
  readonly images = null
  readonly runtime: Runtime
  readonly #state: State
  readonly #unlisten: () => void
  #onEvent: ((event: DriverEvent) => void) | undefined
  #wakeups = new Set<() => void>()

  constructor(state: State) {
    this.#state = state
    this.runtime = state.runtime
    state.drivers.add(this)
    this.#unlisten = state.world.listen((object, change, quiet) => this.#changed(object, change, quiet))
  }

  async status(): Promise<RuntimeStatus> {
    const usable = this.#state.reachable
    return {
      runtime: this.runtime,
      usable,
      version: 'fake',
      detail: usable ? 'in memory' : 'switched off by a test',
      fix: null,
      limits: 'engine',
    }
  }

  async watch(onEvent: (event: DriverEvent) => void): Promise<void> {
    this.#onEvent ??= onEvent
  }

  list(signal: AbortSignal): Promise<Result<Listing, Failure>> {
    return this.#call('list', signal, () => {
      const { partial, world } = this.#state
      const seen = world.objects.filter((object) => !object.removed && !hides(partial, object.want.id)).map(seenOf)
      return ok({ complete: partial === null, seen })
    })
  }

  inspect(id: InstanceId, signal: AbortSignal): Promise<Result<readonly Seen[], Failure>> {
    return this.#call('inspect', signal, () =>
      ok(this.#state.world.objects.filter((object) => !object.removed && object.want.id === id).map(seenOf)),
    )
  }

  prepare(_want: Wanted, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#call('prepare', signal, () => OK)
  }

  start(want: Wanted, signal: AbortSignal): Promise<Result<Seen, Failure>> {
    return this.#call('start', signal, () => {
      const [first, verb] = want.spec.command
      if (first === 'fake' && verb === 'missing') return err(failure('command_not_found', 'fake missing: not found.'))
      const before = this.#state.world.find(want)
      if (before?.removed) return err(failure('wrong_state', `Incarnation ${want.incarnation} has been removed.`))
      return ok(seenOf(before ?? this.#state.world.start(want)))
    })
  }

  stop(target: Target, options: StopOptions, signal: AbortSignal): Promise<Result<Exit | null, Failure>> {
    return this.#call('stop', signal, async () => {
      const object = this.#own(target)
      if (!object) return ok(null)
      this.#state.world.setPaused(object, false)
      this.#state.world.signal(object, options.signal)
      if (object.state !== 'dead') await this.#state.clock.sleep(options.graceMs, signal)
      this.#state.world.signal(object, 'SIGKILL')
      return ok(object.exit)
    })
  }

  remove(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#call('remove', signal, () => {
      const object = this.#own(target)
      if (!object) return OK
      this.#state.world.signal(object, 'SIGKILL')
      this.#state.world.remove(object)
      return OK
    })
  }

  pause(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#call('pause', signal, () => this.#withLive(target, (object) => this.#state.world.setPaused(object, true)))
  }

  resume(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#call('resume', signal, () => this.#withLive(target, (object) => this.#state.world.setPaused(object, false)))
  }

  probe(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#call('probe', signal, () => {
      const object = this.#state.world.find(target)
      if (object && (object.mismatch || object.want.nonce !== target.nonce))
        return err(failure('process_mismatch', 'Another object has its place.'))
      return object && object.state !== 'dead' ? OK : err(failure('process_dead', 'It does not run.'))
    })
  }

  logs(target: Target, options: LogOptions, emit: Emit, signal: AbortSignal): Promise<Result<LogsEnd, Failure>> {
    return this.#call('logs', signal, async () => {
      const object = this.#state.world.find(target)
      if (!object || (target.nonce !== '' && object.want.nonce !== target.nonce))
        return err(failure('not_found', `No logs of incarnation ${target.incarnation}.`))
      const reading = new FakeReading(object, options)
      for (;;) {
        const moved = await reading.emitNext(emit)
        if (signal.aborted || !options.follow || (!moved && object.state === 'dead')) break
        if (!moved) await this.#nextChange(signal)
      }
      return ok({ lostBytes: reading.lostBytes })
    })
  }

  exec(target: Target, options: ExecOptions, emit: Emit | null, signal: AbortSignal): Promise<Result<number, Failure>> {
    return this.#call('exec', signal, async () => {
      const live = this.#withLive(target, () => undefined)
      if (!live.ok) return live
      const [first, verb, ...args] = options.command
      if (first !== 'fake') return ok(0)
      if (verb === 'missing' || verb === 'unknown') return ok(await notRun(verb, false, emit))
      if (verb === 'unexecutable') return ok(await notRun(verb, true, emit))
      if (verb === 'exit') return ok(Number(args[0]))
      if (verb === 'fail-with') return ok(shellCode(args[0] ?? ''))
      if (verb === 'cat') await emit?.({ stream: 'stdout', data: options.stdin ?? Buffer.alloc(0), atMs: null })
      if (verb === 'print') {
        await emit?.({ stream: 'stdout', data: Buffer.from(args[0] ?? '', 'base64'), atMs: null })
        await emit?.({ stream: 'stderr', data: Buffer.from(args[1] ?? '', 'base64'), atMs: null })
      }
      if (verb !== 'run' && verb !== 'stubborn') return ok(0)
      await this.#state.clock.sleep(options.timeoutMs, signal)
      return err(
        failure('exec_failed', `It did not end within ${durationText(options.timeoutMs)} and was killed.`, {
          timed_out: true,
          timeout_ms: options.timeoutMs,
        }),
      )
    })
  }

  stats(target: Target, signal: AbortSignal): Promise<Result<Stats, Failure>> {
    return this.#call('stats', signal, () => {
      const live = this.#withLive(target, () => undefined)
      if (!live.ok) return live
      const unknown = { networkReceivedBytes: null, networkSentBytes: null, diskReadBytes: null, diskWrittenBytes: null }
      const memory = { memoryBytes: 2 ** 20, memoryLimitBytes: this.#state.world.find(target)?.want.spec.memoryBytes ?? null }
      return ok({ atMs: this.#state.clock.wallMs(), cpuSeconds: 0, cpuRatio: 0, processes: 1, ...memory, ...unknown })
    })
  }

  async weigh(target: Target, _signal: AbortSignal): Promise<Result<number | null, Failure>> {
    const object = this.#own(target)
    return ok(object ? object.stdout.length + object.stderr.length : null)
  }

  async forget(id: InstanceId): Promise<Result<void, Failure>> {
    this.#state.world.forget(id)
    return OK
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state.drivers.delete(this)
    this.#unlisten()
    this.#onEvent = undefined
    this.#wake()
  }

  runtimeChanged(reachable: boolean): void {
    this.#onEvent?.({ kind: 'runtime', reachable })
  }

  #changed(object: FakeObject, change: FakeChange, quiet: boolean): void {
    this.#wake()
    if (quiet || change === 'output' || !this.#state.reachable) return
    const { id, incarnation, nonce } = object.want
    const ended = change === 'exit' && object.exit ? { incarnation, nonce, exit: object.exit } : undefined
    this.#onEvent?.({ kind: 'instance', id, what: change, receivedAtMs: this.#state.clock.wallMs(), ...(ended && { ended }) })
  }

  #wake(): void {
    const wakeups = this.#wakeups
    this.#wakeups = new Set()
    for (const wakeup of wakeups) wakeup()
  }

  #nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done)
        this.#wakeups.delete(done)
        resolve()
      }
      this.#wakeups.add(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  #own(target: Target): FakeObject | undefined {
    const object = this.#state.world.find(target)
    return object && !object.removed && !object.mismatch && object.want.nonce === target.nonce ? object : undefined
  }

  #withLive(target: Target, act: (object: FakeObject) => void): Result<void, Failure> {
    const object = this.#state.world.find(target)
    if (!object || object.removed || object.state === 'dead') return err(failure('wrong_state', 'It does not run.'))
    if (object.mismatch || object.want.nonce !== target.nonce) return err(failure('process_mismatch', 'Another object has its place.'))
    act(object)
    return OK
  }

  /** Faults and latency around every verb. */
  async #call<T>(
    verb: FakeVerb,
    signal: AbortSignal,
    run: () => Result<T, Failure> | Promise<Result<T, Failure>>,
  ): Promise<Result<T, Failure>> {
    const fault = this.#state.faults.get(verb)?.shift()
    try {
      if (this.#state.latencyMs > 0) await this.#state.clock.sleep(this.#state.latencyMs, signal)
      while (fault?.kind === 'hang' && !signal.aborted) await this.#nextChange(signal)
      if (signal.aborted) return cancelled(verb)
      if (!this.#state.reachable) return err(failure('runtime_unreachable', 'Switched off by a test.'))
      if (fault?.kind === 'fail') return err(fault.given)
      const result = await run()
      return fault?.kind === 'fail-after' ? err(fault.given) : result
    } catch (error) {
      if (signal.aborted) return cancelled(verb)
      throw error
    }
  }
}

const cancelled = (verb: string) => err(failure('cancelled', `${verb} was given up.`))

const hides = (partial: State['partial'], id: InstanceId) => partial !== null && (partial.hidden === null || partial.hidden.includes(id))

/** Where a reader of the logs is, in bytes since the beginning of each stream. */
class FakeReading {
  readonly #object: FakeObject
  readonly #cursor: Record<'stdout' | 'stderr', number>
  lostBytes: number

  constructor(object: FakeObject, { tailLines }: LogOptions) {
    const { dropped, stdout, stderr } = object
    this.#object = object
    this.#cursor = { stdout: dropped.stdout + tailStart(stdout, tailLines), stderr: dropped.stderr + tailStart(stderr, tailLines) }
    this.lostBytes = dropped.stdout + dropped.stderr
  }

  /** Gives what there is; false when there is nothing. */
  async emitNext(emit: Emit): Promise<boolean> {
    let moved = false
    for (const stream of ['stdout', 'stderr'] as const) {
      const dropped = this.#object.dropped[stream]
      const lostBytes = Math.max(0, dropped - this.#cursor[stream])
      const data = this.#object[stream].subarray(this.#cursor[stream] + lostBytes - dropped)
      this.#cursor[stream] += lostBytes + data.length
      this.lostBytes += lostBytes
      if (data.length === 0) continue
      moved = true
      await emit({ stream, data, atMs: null, ...(lostBytes > 0 && { lostBytes }) })
    }
    return moved
  }
}

/** Where the last `lines` lines begin. */
function tailStart(data: Buffer, lines: number | null): number {
  if (lines === null) return 0
  let at = data.length
  for (let left = lines; left > 0 && at > 0; left -= 1) at = data.subarray(0, at - 1).lastIndexOf(10) + 1
  return lines === 0 ? data.length : at
}
