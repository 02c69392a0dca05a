// The engine's event stream, kept open. Three modes: connecting, listening, waiting.
//
//  connecting: `_ping`, then the stream. Both answered: `reachable` (everything must be listed again: a daemon that was down tells
//              nothing of what happened meanwhile) and listening. Otherwise `unreachable` and waiting.
//  listening:  each line becomes a note. A silent stream is fine, so a `_ping` every few seconds tells a quiet daemon from a hanging
//              one (a stopped process keeps its connections). Stream ended, line unreadable or ping unanswered: unreachable, waiting.
//  waiting:    backoff with jitter, then connecting.
//
// `unreachable` is said once per outage and never means that anything is gone.
import { type Backoff, backoffMs } from '../../../base/backoff.ts'
import type { Clock, Random } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import type { Result } from '../../../base/result.ts'
import type { Failure } from '../../../contracts/errors.ts'
import { type Engine, parseJson } from './engine.ts'
import { failureOf } from './engine-fault.ts'
import { LineSplitter } from './lines.ts'
import { EngineEvent } from './schemas.ts'

const PING_INTERVAL_MS = 3000
const PING_DEADLINE_MS = 4000
const BACKOFF: Backoff = { baseMs: 100, factor: 2, maxMs: 5000 }
/** A stream that lived this long was a good one: the next outage begins with the shortest wait. */
const GOOD_STREAM_MS = 2000
const ACTIONS = ['start', 'die', 'oom', 'pause', 'unpause', 'destroy']

export interface WatcherDeps {
  readonly engine: Engine
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** The engine's filter for our containers. */
  labels(): Promise<Result<readonly string[], Failure>>
  onEvent(event: EngineEvent, receivedAtMs: number): void
  onReachable(reachable: boolean): void
}

export class Watcher {
  readonly #deps: WatcherDeps
  readonly #closing = new AbortController()
  #loop: Promise<void> | undefined
  #reachable: boolean | undefined
  #first: Promise<void> | undefined

  constructor(deps: WatcherDeps) {
    this.#deps = deps
  }

  /** Returns after the first attempt to connect, whatever came of it. */
  start(): Promise<void> {
    this.#first ??= new Promise((resolve) => {
      this.#loop = this.#run(resolve)
    })
    return this.#first
  }

  /** It did not answer when it was asked last. */
  get isAway(): boolean {
    return this.#reachable === false
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#loop
  }

  async #run(attempted: () => void): Promise<void> {
    const { clock, random, engine } = this.#deps
    const { signal } = this.#closing
    for (let failures = 0; !signal.aborted; ) {
      const begunMs = clock.elapsedMs()
      await this.#listen(attempted)
      attempted()
      if (signal.aborted) return
      this.#say(false)
      engine.forgetVersion()
      failures = clock.elapsedMs() - begunMs >= GOOD_STREAM_MS ? 1 : failures + 1
      await clock.sleep(backoffMs(BACKOFF, failures, random.fraction()), signal).catch(() => undefined)
    }
  }

  /** Connects and stays until the stream is of no use any more. */
  async #listen(attempted: () => void): Promise<void> {
    const { engine, clock } = this.#deps
    const stream = new AbortController()
    const signal = AbortSignal.any([this.#closing.signal, stream.signal])
    const labels = await this.#deps.labels()
    if (!labels.ok) return this.#note(labels.error)
    const pinged = await engine.ping(PING_DEADLINE_MS, signal)
    if (!pinged.ok) return this.#note(failureOf(pinged.error, 'answer a ping'))
    const filters = JSON.stringify({ type: ['container'], event: ACTIONS, label: labels.value })
    const body = await engine.stream({ method: 'GET', path: '/events', query: { filters }, deadlineMs: PING_DEADLINE_MS }, signal)
    if (!body.ok) return this.#note(failureOf(body.error, 'report events'))
    this.#say(true)
    attempted()
    const watchdog = this.#pingUntilSilent(stream, signal)
    const lines = new LineSplitter((line) => {
      const event = parseJson(line, EngineEvent)
      if (event.ok) this.#deps.onEvent(event.value, clock.wallMs())
      else stream.abort()
    })
    try {
      for await (const chunk of body.value) {
        if (Buffer.isBuffer(chunk)) lines.push(chunk)
        if (!lines.intact || stream.signal.aborted) break
      }
    } catch {
      // Ended by the daemon, the watchdog or our own closing: the caller's next step is the same.
    }
    stream.abort()
    await watchdog
  }

  async #pingUntilSilent(stream: AbortController, signal: AbortSignal): Promise<void> {
    const { engine, clock } = this.#deps
    while (!signal.aborted) {
      await clock.sleep(PING_INTERVAL_MS, signal).catch(() => undefined)
      if (signal.aborted) return
      const answer = await engine.ping(PING_DEADLINE_MS, signal)
      if (!answer.ok) {
        if (!signal.aborted) this.#note(failureOf(answer.error, 'answer a ping'))
        stream.abort()
      }
    }
  }

  #note(failure: Failure): void {
    // Once per outage: a daemon that stays away is not news.
    if (this.#reachable === false || this.#closing.signal.aborted) return
    const fields = { error_code: failure.code, error: failure.detail }
    // A machine without Docker is an ordinary one.
    if (this.#reachable === undefined && failure.code === 'runtime_unavailable') this.#deps.log.debug('docker engine absent', fields)
    else this.#deps.log.warn('docker engine unreachable', fields)
  }

  #say(reachable: boolean): void {
    if (this.#reachable === reachable) return
    this.#reachable = reachable
    this.#deps.onReachable(reachable)
  }
}
