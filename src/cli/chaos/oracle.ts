// The judge: asks each workload through its own port whether it serves, and who does. It reads nothing that Holdfast says of itself but
// the port. A connection stays open meanwhile, so an end is seen at once; while a workload is away it is dialled every few milliseconds.
import type { Clock, Random } from '../../base/clock.ts'
import { type Answer, dial, type Heartbeat } from './heartbeat.ts'

/** An answer, at an elapsed time. */
export interface Beat extends Answer {
  readonly atMs: number
}

/** A time in which a workload did not answer. */
export interface Outage {
  readonly name: string
  /** The last answer before it: the outage began after this. Elapsed milliseconds. */
  readonly lastBeat: Beat
  readonly noticedAtMs: number
  /** null: not over yet. */
  readonly over: Beat | null
}

interface Watched {
  readonly name: string
  readonly locate: () => Promise<number | null>
  readonly stop: AbortController
  readonly listeners: Set<(beat: Beat) => void>
  work: Promise<void>
  port: number | null
  /** When its port was asked for. */
  locatedMs: number
  lastBeat: Beat | null
  firstBeatMs: number | null
  outageFromMs: number | null
  /** When the process that answers now first did. */
  lifeSinceMs: number
}

export interface OracleOptions {
  readonly clock: Clock
  readonly random: Random
  /** Between two questions while all is well. */
  readonly pollMs?: number
  /** Without an answer for so long a workload counts as away. */
  readonly answerMs?: number
}

const DIAL_FAST_MS = 2
const DIAL_SLOW_MS = 25
/** After so long away the pace of dialling falls and the port is asked for again: it may have changed. */
const FAST_FOR_MS = 2000
const LOCATE_AGAIN_MS = 500

export class Oracle {
  readonly #clock: Clock
  readonly #random: Random
  readonly #pollMs: number
  readonly #answerMs: number
  readonly #watched = new Map<string, Watched>()
  readonly outages: Outage[] = []

  constructor({ clock, random, pollMs = 250, answerMs = 1000 }: OracleOptions) {
    this.#clock = clock
    this.#random = random
    this.#pollMs = pollMs
    this.#answerMs = answerMs
  }

  watch(name: string, locate: () => Promise<number | null>): void {
    const watched: Watched = {
      name,
      locate,
      port: null,
      locatedMs: 0,
      stop: new AbortController(),
      listeners: new Set(),
      work: Promise.resolve(),
      lastBeat: null,
      firstBeatMs: null,
      outageFromMs: null,
      lifeSinceMs: 0,
    }
    this.#watched.set(name, watched)
    watched.work = this.#follow(watched)
  }

  /** What is stopped on purpose is no outage from here on. */
  async unwatch(name: string): Promise<void> {
    const watched = this.#watched.get(name)
    watched?.stop.abort()
    await watched?.work
    this.#watched.delete(name)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watched.keys()].map((name) => this.unwatch(name)))
  }

  /** Who serves at this moment; null: nobody. */
  serving(name: string): (Beat & { readonly sinceMs: number }) | null {
    const watched = this.#watched.get(name)
    if (!watched?.lastBeat || watched.outageFromMs !== null) return null
    return { ...watched.lastBeat, sinceMs: watched.lifeSinceMs }
  }

  port(name: string): number | null {
    return this.#watched.get(name)?.port ?? null
  }

  /** Elapsed time at which it first answered at all. */
  firstBeatMs(name: string): number | null {
    return this.#watched.get(name)?.firstBeatMs ?? null
  }

  /** The first beat from now on that fits; null: none within the time. */
  async next(name: string, fits: (beat: Beat) => boolean, withinMs: number): Promise<Beat | null> {
    const watched = this.#watched.get(name)
    if (!watched) return null
    let found: ((beat: Beat | null) => void) | null = null
    const listen = (beat: Beat) => {
      if (fits(beat)) found?.(beat)
    }
    watched.listeners.add(listen)
    const beat = await new Promise<Beat | null>((resolve) => {
      const cancel = this.#clock.after(withinMs, () => resolve(null))
      found = (first) => {
        cancel()
        resolve(first)
      }
    })
    watched.listeners.delete(listen)
    return beat
  }

  async #follow(watched: Watched): Promise<void> {
    const { signal } = watched.stop
    while (!signal.aborted) {
      const awayMs = watched.outageFromMs === null ? 0 : this.#clock.elapsedMs() - watched.outageFromMs
      if (this.#isLost(watched, awayMs)) {
        watched.locatedMs = this.#clock.elapsedMs()
        watched.port = (await watched.locate()) ?? watched.port
      }
      const heart = watched.port === null ? null : await dial(this.#clock, watched.port, this.#answerMs)
      if (heart) await this.#listen(watched, heart)
      if (signal.aborted) return
      this.#away(watched)
      await this.#pause(awayMs > FAST_FOR_MS || watched.port === null ? DIAL_SLOW_MS : DIAL_FAST_MS, signal)
    }
  }

  /** Where it may be found is to be asked. What never answered may have been looked for in the wrong place. */
  #isLost({ port, lastBeat, locatedMs }: Watched, awayMs: number): boolean {
    return port === null || awayMs > FAST_FOR_MS || (lastBeat === null && this.#clock.elapsedMs() - locatedMs > LOCATE_AGAIN_MS)
  }

  /** Until the connection ends, or an answer stays away. */
  async #listen(watched: Watched, heart: Heartbeat): Promise<void> {
    const either = AbortSignal.any([heart.ended, watched.stop.signal])
    while (!either.aborted) {
      const answer = await heart.ask(this.#random.text(12), this.#answerMs)
      if (answer === null) break
      this.#beat(watched, { ...answer, atMs: this.#clock.elapsedMs() })
      await this.#pause(this.#pollMs, either)
    }
    heart.close()
  }

  #beat(watched: Watched, beat: Beat): void {
    if (watched.outageFromMs !== null && watched.lastBeat)
      this.outages.push({ name: watched.name, lastBeat: watched.lastBeat, noticedAtMs: watched.outageFromMs, over: beat })
    if (watched.lastBeat?.life !== beat.life) watched.lifeSinceMs = beat.atMs
    watched.outageFromMs = null
    watched.lastBeat = beat
    watched.firstBeatMs ??= beat.atMs
    for (const listen of [...watched.listeners]) listen(beat)
  }

  #away(watched: Watched): void {
    if (watched.lastBeat) watched.outageFromMs ??= this.#clock.elapsedMs()
  }

  /** Outages that are not over. */
  open(): readonly Outage[] {
    return [...this.#watched.values()].flatMap(({ name, lastBeat, outageFromMs }) =>
      lastBeat && outageFromMs !== null ? [{ name, lastBeat, noticedAtMs: outageFromMs, over: null }] : [],
    )
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(ms, signal).catch(() => {})
  }
}
