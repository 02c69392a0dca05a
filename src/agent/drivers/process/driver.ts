// The process runtime: programs run directly on the node, with nothing installed but Perl, which every Debian has.
//
// Each incarnation has a keeper (keeper.pl), which is the workload's parent and outlives the agent. The agent and the keepers speak only
// through files (records.ts) and signals, so an agent that was killed at any moment finds everything again by looking. What is seen is
// decided in inspector.ts, changes are noticed in tracker.ts. Never signalled: a pid whose start time, boot or nonce is not the one
// written down, a zombie, pid 1 or below.
import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Clock, Random } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import type { RuntimeStatus, Stats } from '../../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { InstanceId } from '../../../contracts/ids.ts'
import type { Exit } from '../../../contracts/phase.ts'
import type { Driver, DriverEvent, Emit, ExecOptions, Listing, LogOptions, LogsEnd, Seen, StopOptions, Target, Wanted } from '../driver.ts'
import { CGROUP_ROOT, type Cgroups, openCgroups, removeGroups } from './cgroups.ts'
import { CANCELLED, type Context, lookOrNull, requireLive, settle } from './context.ts'
import { exec } from './exec.ts'
import { errnoOf, fileFailure } from './failures.ts'
import { type Forge, openForge } from './forge.ts'
import { Inspector, type Sight, toSeen } from './inspector.ts'
import { archOf, findPerl, perlVersion } from './keeper.ts'
import { launch } from './launch.ts'
import { readLogs } from './logs.ts'
import { setPaused } from './pause.ts'
import { discard, instancesDir, listRuns, markRemoved, namesIn, type Run, runOf, runsDir, weigh } from './records.ts'
import { endNow, stop, sweep } from './stop.ts'
import { Tracker } from './tracker.ts'
import { createUsage } from './usage.ts'

export interface ProcessDriverOptions {
  readonly stateDir: string
  readonly nodeId: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Per stream; the oldest bytes are dropped beyond it. */
  readonly logBytesMax?: number
  /** For tests. */
  readonly cgroupRoot?: string
  readonly perlPaths?: readonly string[]
}

const LOG_BYTES_MAX = 16 * 2 ** 20
/** Beside the current one. */
const INCARNATIONS_KEPT = 3
/** Looking at this many instances takes about a millisecond; then events get their turn. */
const LOOKS_AT_ONCE = 20

export function createProcessDriver(options: ProcessDriverOptions): Driver {
  return new ProcessDriver(options)
}

class ProcessDriver implements Driver {
  readonly runtime = 'process'
  readonly images = null
  readonly can = { exec: true, pause: true, stats: true }
  readonly #context: Context
  readonly #options: ProcessDriverOptions
  readonly #starting = new Map<string, Promise<Result<Seen, Failure>>>()
  readonly #launching = new Set<string>()
  /** Why the files of an instance could not be read. */
  readonly #unread = new Map<InstanceId, string>()
  /** Work nobody waits for, until disposal. */
  readonly #background = new Set<Promise<unknown>>()
  readonly #closing = new AbortController()
  readonly #stats: (target: Target, signal: AbortSignal) => Promise<Result<Stats, Failure>>
  #onEvent: ((event: DriverEvent) => void) | undefined
  #perl: string | null | undefined
  #cgroups: Cgroups | undefined
  #forge: Forge | undefined

  constructor(options: ProcessDriverOptions) {
    this.#options = options
    const { clock, log } = options
    const stateDir = resolve(options.stateDir)
    const tracker = new Tracker({ clock, log, onEnd: (run) => this.#ended(run), check: (run) => this.#check(run) })
    this.#context = {
      stateDir,
      clock,
      log,
      inspector: new Inspector(),
      tracker,
      perl: () => this.#findPerl(),
      arch: archOf(process.arch),
      cgroups: () => this.#openCgroups(),
      starting: this.#launching,
      logBytesMax: options.logBytesMax ?? LOG_BYTES_MAX,
      forge: () => this.#openForge(),
    }
    this.#stats = createUsage(this.#context)
  }

  async status(signal: AbortSignal): Promise<RuntimeStatus> {
    const { arch, perl, cgroups } = this.#context
    const unusable = (detail: string, fix: string | null): RuntimeStatus => ({
      runtime: 'process',
      usable: false,
      version: null,
      detail,
      fix,
      limits: 'none',
    })
    if (process.platform !== 'linux') return unusable(`It needs Linux; this is ${process.platform}.`, null)
    if (arch === undefined) return unusable(`It needs an x64 or arm64 machine; this is ${process.arch}.`, null)
    const path = perl()
    const version = path === null ? null : await perlVersion(path, signal)
    if (version === null)
      return unusable(path === null ? 'There is no perl on this machine.' : `${path} does not run.`, 'apt-get install perl-base')
    const { mode, why } = cgroups()
    if (mode !== 'none')
      return { runtime: 'process', usable: true, version: `perl ${version}`, detail: `limits by ${mode}`, fix: null, limits: mode }
    const fix = process.getuid?.() === 0 ? null : 'run the agent as root'
    return {
      runtime: 'process',
      usable: true,
      version: `perl ${version}`,
      detail: `limits: not enforced here: ${why}`,
      fix,
      limits: 'none',
    }
  }

  async watch(onEvent: (event: DriverEvent) => void): Promise<void> {
    if (this.#onEvent) return
    this.#onEvent = onEvent
    const listed = await this.#guarded(this.#closing.signal, () => {
      this.#openForge()?.warm()
      return this.list(this.#closing.signal)
    })
    if (!listed.ok) this.#options.log.warn('first listing failed', { code: listed.error.code, error: listed.error.detail })
  }

  list(signal: AbortSignal): Promise<Result<Listing, Failure>> {
    return this.#guarded(signal, async () => {
      let complete = true
      const waiting: Promise<readonly Seen[] | null>[] = []
      // What is watched counts also when somebody took its folder away.
      const watched = this.#context.tracker.runs().map(({ id }) => id)
      for (const [index, name] of [...new Set([...namesIn(instancesDir(this.#context.stateDir)), ...watched])].entries()) {
        const id = InstanceId.safeParse(name)
        if (!id.success) continue
        waiting.push(this.#seenOf(id.data, signal))
        if (index % LOOKS_AT_ONCE === LOOKS_AT_ONCE - 1) await this.#context.clock.sleep(0, signal).catch(() => undefined)
        if (signal.aborted) return err(CANCELLED)
      }
      const seen: Seen[] = []
      for (const found of await Promise.all(waiting)) {
        if (found) seen.push(...found)
        else complete = false
      }
      return signal.aborted ? err(CANCELLED) : ok({ complete, seen })
    })
  }

  inspect(id: InstanceId, signal: AbortSignal): Promise<Result<readonly Seen[], Failure>> {
    return this.#guarded(signal, async () => {
      const sights = await this.#sightsOf(id, signal)
      return signal.aborted ? err(CANCELLED) : ok(sights)
    })
  }

  async prepare(_want: Wanted, signal: AbortSignal): Promise<Result<void, Failure>> {
    return signal.aborted ? err(CANCELLED) : OK
  }

  async start(want: Wanted, signal: AbortSignal): Promise<Result<Seen, Failure>> {
    if (signal.aborted) return err(CANCELLED)
    const key = `${want.id}/${want.incarnation}`
    // A second caller gets what the first one's start comes to, so that two at once cannot make two objects.
    const underWay = this.#starting.get(key)
    const started = underWay ?? this.#guarded(signal, () => this.#start(want, signal)).finally(() => this.#starting.delete(key))
    if (!underWay) this.#starting.set(key, started)
    return started
  }

  stop(target: Target, options: StopOptions, signal: AbortSignal): Promise<Result<Exit | null, Failure>> {
    return this.#guarded(signal, () => stop(this.#context, target, options, signal))
  }

  remove(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#guarded(signal, async () => {
      const run = runOf(this.#context.stateDir, target.id, target.incarnation)
      const sight = await settle(this.#context, run, signal)
      if (signal.aborted) return err(CANCELLED)
      if (sight.kind === 'none' || sight.want.nonce !== target.nonce || (sight.kind === 'live' && !sight.matches)) return OK
      const ended = await endNow(this.#context, run, signal)
      if (!ended.ok) return ended
      markRemoved(run)
      removeGroups(sight.want.groups)
      this.#context.tracker.untrack(run, false)
      this.#context.inspector.forget(run.dir)
      return OK
    })
  }

  pause(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#guarded(signal, () => setPaused(this.#context, target, true, signal))
  }

  resume(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#guarded(signal, () => setPaused(this.#context, target, false, signal))
  }

  probe(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return this.#guarded(signal, async () => {
      const live = await requireLive(this.#context, target, signal)
      if (live.ok) return OK
      return live.error.code === 'wrong_state' ? err(failure('process_dead', live.error.detail, live.error.fields)) : live
    })
  }

  logs(target: Target, options: LogOptions, emit: Emit, signal: AbortSignal): Promise<Result<LogsEnd, Failure>> {
    // An already aborted follow ends well too.
    return readLogs(this.#context, target, options, emit, signal)
  }

  exec(target: Target, options: ExecOptions, emit: Emit | null, signal: AbortSignal): Promise<Result<number, Failure>> {
    return this.#guarded(signal, () => exec(this.#context, target, options, emit, signal))
  }

  stats(target: Target, signal: AbortSignal): Promise<Result<Stats, Failure>> {
    return this.#guarded(signal, () => this.#stats(target, signal))
  }

  weigh(target: Target, signal: AbortSignal): Promise<Result<number | null, Failure>> {
    return this.#guarded(signal, async () => {
      const run = runOf(this.#context.stateDir, target.id, target.incarnation)
      const sight = await settle(this.#context, run, signal)
      return ok(sight.kind === 'none' || sight.want.nonce !== target.nonce ? null : weigh(run))
    })
  }

  forget(id: InstanceId): Promise<Result<void, Failure>> {
    const { signal } = this.#closing
    return this.#guarded(signal, async () => {
      for (const run of listRuns(this.#context.stateDir, id)) {
        const sight = await settle(this.#context, run, signal)
        if (sight.kind === 'live' && sight.matches)
          return err(failure('wrong_state', `Incarnation ${run.incarnation} still runs.`, { incarnation: run.incarnation }))
        // What a dying one leaves is on its way out; its keeper writes into this folder until then.
        const ended = await endNow(this.#context, run, signal)
        if (!ended.ok) return ended
        this.#context.tracker.untrack(run, false)
      }
      const dir = runsDir(this.#context.stateDir, id)
      await rm(dir, { recursive: true, force: true })
      this.#context.inspector.forget(dir)
      this.#unread.delete(id)
      return OK
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    this.#onEvent = undefined
    this.#context.tracker.close()
    this.#forge?.close()
    await Promise.allSettled(this.#background)
    this.#cgroups?.sweep()
  }

  async #start(want: Wanted, signal: AbortSignal): Promise<Result<Seen, Failure>> {
    const run = runOf(this.#context.stateDir, want.id, want.incarnation)
    let sight = await settle(this.#context, run, signal)
    if (signal.aborted) return err(CANCELLED)
    if (sight.kind === 'none') {
      const names = namesIn(run.dir)
      if (names.includes('removed'))
        return err(
          failure('wrong_state', `Incarnation ${run.incarnation} has been removed; start the next one.`, { incarnation: run.incarnation }),
        )
      // What an interrupted start left; nothing of it was ever executed.
      if (names.length > 0) await discard(run)
      this.#launching.add(run.dir)
      const launched = await launch(this.#context, run, want, signal).finally(() => this.#launching.delete(run.dir))
      if (!launched.ok) return launched
      sight = launched.value
      this.#later(this.#prune(run))
    } else if (sight.want.nonce !== want.nonce)
      return err(failure('process_mismatch', `Incarnation ${run.incarnation} was started with another nonce.`))
    if (sight.kind === 'live') this.#context.tracker.track(run)
    const seen = sight.kind === 'pending' ? null : toSeen(run, sight)
    return seen ? ok(seen) : err(failure('start_failed', 'Its keeper process does not answer.', { incarnation: run.incarnation }))
  }

  /** Null when the disk would not tell. */
  async #seenOf(id: InstanceId, signal: AbortSignal): Promise<readonly Seen[] | null> {
    try {
      return await this.#sightsOf(id, signal)
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      return null
    }
  }

  /** Throws when the files of one incarnation do not tell: that one could be the one that lives. Told once, until it is read again. */
  async #sightsOf(id: InstanceId, signal: AbortSignal): Promise<readonly Seen[]> {
    const found: Seen[] = []
    try {
      const listed = listRuns(this.#context.stateDir, id)
      const taken = this.#context.tracker.runs(id).filter(({ dir }) => !listed.some((run) => run.dir === dir))
      for (const run of [...listed, ...taken]) {
        const sight = this.#adopt(run, await settle(this.#context, run, signal))
        const seen = toSeen(run, sight)
        if (seen) found.push(seen)
      }
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      if (this.#unread.get(id) !== why) this.#options.log.warn('instance could not be read', { instance_id: id, error: why })
      this.#unread.set(id, why)
      throw error
    }
    this.#unread.delete(id)
    return found
  }

  /** A living one that is not watched yet is from now on. */
  #adopt(run: Run, sight: Sight): Sight {
    if (sight.kind !== 'live' || !this.#onEvent || this.#context.tracker.get(run)) return sight
    this.#context.tracker.track(run).attended = sight.attended
    return this.#context.inspector.look(run)
  }

  #check(run: Run): 'lives' | 'unattended' | 'ended' {
    const sight = lookOrNull(this.#context, run)
    if (sight?.kind === 'live') return sight.attended ? 'lives' : 'unattended'
    if (sight?.kind !== 'ended') return 'lives'
    // Its keeper was killed and cannot clear up after it.
    if (sight.exit === null) this.#later(sweep(this.#context, sight.want, this.#closing.signal))
    return 'ended'
  }

  #ended(run: Run): void {
    const receivedAtMs = this.#options.clock.wallMs()
    const sight = lookOrNull(this.#context, run)
    const ended =
      sight?.kind === 'ended' && sight.exit ? { incarnation: run.incarnation, nonce: sight.want.nonce, exit: sight.exit } : undefined
    this.#onEvent?.({ kind: 'instance', id: run.id, what: 'exit', receivedAtMs, ...(ended && { ended }) })
  }

  async #prune(current: Run): Promise<void> {
    const older = listRuns(this.#context.stateDir, current.id).filter((run) => run.incarnation < current.incarnation)
    for (const run of older.slice(0, -INCARNATIONS_KEPT)) {
      const sight = lookOrNull(this.#context, run)
      if (sight?.kind !== 'none' && !(sight?.kind === 'ended' && sight.settled)) continue
      await discard(run)
      this.#context.inspector.forget(run.dir)
    }
  }

  #later(work: Promise<unknown>): void {
    const done = work
      .catch((error: unknown) => this.#options.log.warn('clean-up failed', { error: String(error) }))
      .finally(() => this.#background.delete(done))
    this.#background.add(done)
  }

  #findPerl(): string | null {
    this.#perl ??= process.platform === 'linux' ? findPerl(this.#options.perlPaths) : null
    return this.#perl
  }

  #openForge(): Forge | null {
    const { arch, stateDir } = this.#context
    const perl = this.#findPerl()
    if (perl !== null && arch !== undefined && !this.#forge) {
      mkdirSync(stateDir, { recursive: true, mode: 0o700 })
      this.#forge = openForge(perl, arch, stateDir)
    }
    return this.#forge ?? null
  }

  #openCgroups(): Cgroups {
    if (!this.#cgroups) {
      this.#cgroups = openCgroups(this.#context.stateDir, this.#options.cgroupRoot ?? CGROUP_ROOT)
      this.#cgroups.sweep()
    }
    return this.#cgroups
  }

  async #guarded<T>(signal: AbortSignal, work: () => Promise<Result<T, Failure>>): Promise<Result<T, Failure>> {
    if (signal.aborted) return err(CANCELLED)
    try {
      return await work()
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      return err(fileFailure(error, this.#context.stateDir))
    }
  }
}
