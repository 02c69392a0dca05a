// The `docker` runtime: containers on the Docker Engine API of this node (docs/runtimes/docker.md).
//
// It owns the containers that carry the labels of its node and data directory, and below the data directory the files of
// instances/<id>/run. The engine is the truth about what runs: nothing is decided from memory, so an agent that was killed at any
// moment goes on from the labels. An engine that does not answer is unreachable, never empty.
import type { Clock, Random } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import type { RuntimeStatus, Stats } from '../../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import type { Exit } from '../../../contracts/phase.ts'
import type { Driver, DriverEvent, Emit, ExecOptions, Listing, LogOptions, LogsEnd, Seen, StopOptions, Target, Wanted } from '../driver.ts'
import { CloudInit } from './cloud-init.ts'
import { Engine } from './engine.ts'
import { runExec } from './exec.ts'
import { InstanceFiles } from './files.ts'
import { find, list, mustFind, type Parts, runs } from './find.ts'
import { FetchedImages, weighContainer } from './images.ts'
import { readLogs } from './logs.ts'
import { containerName, LABEL, readMark } from './marks.ts'
import { Memory } from './memory.ts'
import { processOf } from './proc.ts'
import { ensureImage } from './pull.ts'
import { removeKeepingLogs } from './remove.ts'
import type { EngineEvent } from './schemas.ts'
import { plainExit } from './seen.ts'
import { pruneOld, startContainer } from './start.ts'
import { readStats } from './stats.ts'
import { engineStatus, ownerStatus } from './status.ts'
import { pauseContainer, stopContainer } from './stop.ts'
import { Watcher } from './watcher.ts'

export interface DockerDriverOptions {
  readonly stateDir: string
  readonly nodeId: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly socketPath: string
  /** On every container made, beyond our own; a test run finds its leaks by them. */
  readonly extraLabels: Readonly<Record<string, string>>
}

export function createDockerDriver(options: DockerDriverOptions): Driver {
  return new DockerDriver(options)
}

type InstanceEvent = Extract<DriverEvent, { readonly kind: 'instance' }>['what']

const WHAT: Readonly<Record<string, InstanceEvent>> = {
  start: 'started',
  die: 'exit',
  oom: 'oom',
  pause: 'paused',
  unpause: 'resumed',
  destroy: 'removed',
}

class DockerDriver implements Driver {
  readonly runtime = 'docker'
  readonly can = { exec: true, pause: true, stats: true }
  readonly images: FetchedImages
  readonly #parts: Parts
  readonly #watcher: Watcher
  readonly #starting = new Map<string, Promise<Result<Seen, Failure>>>()
  readonly #background = new Set<Promise<void>>()
  readonly #closing = new AbortController()
  #onEvent: ((event: DriverEvent) => void) | undefined

  constructor(options: DockerDriverOptions) {
    const { clock, random, log } = options
    const engine = new Engine({ socketPath: options.socketPath, clock })
    const files = new InstanceFiles(options.stateDir, random)
    const cloudInit = new CloudInit({ engine, files, clock, log, changed: (id) => this.#tell(id, 'started', clock.wallMs()) })
    const owner = async () => {
      const stateId = await files.stateId()
      return stateId.ok ? ok({ nodeId: options.nodeId, stateId: stateId.value }) : stateId
    }
    this.#parts = { engine, files, memory: new Memory(), cloudInit, clock, random, log, extraLabels: options.extraLabels, owner }
    this.images = new FetchedImages(this.#parts)
    this.#watcher = new Watcher({
      engine,
      clock,
      random,
      log,
      labels: async () => {
        const known = await owner()
        return known.ok ? ok([`${LABEL.node}=${known.value.nodeId}`, `${LABEL.state}=${known.value.stateId}`]) : known
      },
      onEvent: (event, receivedAtMs) => this.#heard(event, receivedAtMs),
      onReachable: (reachable) => this.#onEvent?.({ kind: 'runtime', reachable }),
    })
  }

  async status(signal: AbortSignal): Promise<RuntimeStatus> {
    const status = await engineStatus(this.#parts.engine, this.#watcher.isAway, signal)
    return status.usable ? ownerStatus(status, await this.#parts.files.readStateId()) : status
  }

  async watch(onEvent: (event: DriverEvent) => void): Promise<void> {
    this.#onEvent ??= onEvent
    await this.#watcher.start()
  }

  list(signal: AbortSignal): Promise<Result<Listing, Failure>> {
    return list(this.#parts, null, signal)
  }

  async inspect(id: InstanceId, signal: AbortSignal): Promise<Result<readonly Seen[], Failure>> {
    const listed = await list(this.#parts, id, signal)
    if (!listed.ok) return listed
    // Of one instance everything must be known: an unknown one could be the one that runs.
    return listed.value.complete
      ? ok(listed.value.seen)
      : err(failure('runtime_error', 'The Docker Engine could not describe a container of this instance.'))
  }

  async prepare(want: Wanted, signal: AbortSignal): Promise<Result<void, Failure>> {
    const { image } = want.spec
    return image === null
      ? err(failure('image_not_found', 'The docker runtime needs an image.'))
      : ensureImage(this.#parts.engine, image, signal, () => this.images.remember(image, signal))
  }

  /** Two starts of one incarnation at the same moment are one. */
  async start(want: Wanted, signal: AbortSignal): Promise<Result<Seen, Failure>> {
    const key = containerName(want)
    const running = this.#starting.get(key)
    if (running !== undefined) await running
    const start = startContainer(this.#parts, want, signal).finally(() => this.#starting.delete(key))
    this.#starting.set(key, start)
    const started = await start
    if (started.ok) this.#inBackground(pruneOld(this.#parts, want, this.#closing.signal))
    return started
  }

  stop(target: Target, options: StopOptions, signal: AbortSignal): Promise<Result<Exit | null, Failure>> {
    return stopContainer(this.#parts, target, options, signal)
  }

  remove(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return removeKeepingLogs(this.#parts, target, signal)
  }

  pause(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return pauseContainer(this.#parts, target, 'pause', signal)
  }

  resume(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    return pauseContainer(this.#parts, target, 'unpause', signal)
  }

  async probe(target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
    const found = await mustFind(this.#parts, target, signal)
    if (!found.ok) return found
    const { container } = found.value
    if (!container.State.Running && !container.State.Paused)
      return err(failure('process_dead', `Its container is ${container.State.Status}.`))
    // The engine learns of an end a little later than the kernel: a zombie is dead although its pid exists.
    return processOf(container.State.Pid, container.Id)?.zombie ? err(failure('process_dead', 'Its main process has ended.')) : OK
  }

  logs(target: Target, options: LogOptions, emit: Emit, signal: AbortSignal): Promise<Result<LogsEnd, Failure>> {
    return readLogs(this.#parts, target, options, emit, signal)
  }

  async exec(target: Target, options: ExecOptions, emit: Emit | null, signal: AbortSignal): Promise<Result<number, Failure>> {
    const found = await mustFind(this.#parts, target, signal)
    if (!found.ok) return found.error.code === 'process_dead' ? err(failure('wrong_state', found.error.detail)) : found
    if (!runs(found.value)) return err(failure('wrong_state', `Its container is ${found.value.container.State.Status}.`))
    const { command, stdin, user, timeoutMs } = options
    const call = { containerId: found.value.container.Id, command, stdin, env: [], user, timeoutMs, onAbort: 'kill' } as const
    return runExec(this.#parts, call, emit ?? (() => undefined), signal)
  }

  async stats(target: Target, signal: AbortSignal): Promise<Result<Stats, Failure>> {
    const found = await mustFind(this.#parts, target, signal)
    if (!found.ok) return found
    const { container } = found.value
    if (!container.State.Running && !container.State.Paused) return err(failure('wrong_state', 'It does not run.'))
    return readStats(this.#parts.engine, this.#parts.clock, container.Id, signal)
  }

  async weigh(target: Target, signal: AbortSignal): Promise<Result<number | null, Failure>> {
    const found = await find(this.#parts, target, signal)
    if (!found.ok) return found
    return found.value === null || found.value === 'stranger'
      ? ok(null)
      : weighContainer(this.#parts.engine, found.value.container.Id, signal)
  }

  forget(id: InstanceId): Promise<Result<void, Failure>> {
    return this.#parts.files.forget(id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await Promise.all([this.#watcher.close(), this.#parts.cloudInit.close(), ...this.#background])
    await this.#parts.engine.close()
  }

  #heard(event: EngineEvent, receivedAtMs: number): void {
    const what = WHAT[event.Action]
    const mark = readMark(event.Actor.Attributes)
    if (!what || !mark) return
    const containerId = event.Actor.ID
    if (what === 'oom') this.#parts.memory.oom(containerId, event.timeNano === undefined ? receivedAtMs : event.timeNano / 1e6)
    // What the engine told of memory needs its own record of the end; every other end is whole in the event. A container made from
    // an image of ours carries our labels too: only the name tells its end from ours.
    const { exitCode: code, name } = event.Actor.Attributes
    const exitCode = Number(code ?? Number.NaN)
    const heardOfMemory = this.#parts.memory.of(containerId).oomAtMs !== null
    const plain = what === 'exit' && Number.isInteger(exitCode) && name === containerName(mark) && !heardOfMemory
    if (what === 'removed') this.#parts.memory.forget(containerId)
    if (plain) {
      const { id, incarnation, nonce } = mark
      const atMs = event.timeNano === undefined ? receivedAtMs : Math.floor(event.timeNano / 1e6)
      this.#onEvent?.({ kind: 'instance', id, what, receivedAtMs, ended: { incarnation, nonce, exit: plainExit(exitCode, atMs) } })
    } else this.#tell(mark.id, what, receivedAtMs)
  }

  #tell(id: InstanceId, what: InstanceEvent, receivedAtMs: number): void {
    this.#onEvent?.({ kind: 'instance', id, what, receivedAtMs })
  }

  #inBackground(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#parts.log.error('background work failed', { error: String(error) }))
      .finally(() => this.#background.delete(tracked))
    this.#background.add(tracked)
  }
}
