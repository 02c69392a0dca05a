// A clock that moves only when told. `advance` fires due timers in order and lets everything they started settle in between.
import type { Clock } from '../../src/base/clock.ts'

interface Timer {
  readonly atMs: number
  readonly run: () => void
}

export class ManualClock implements Clock {
  #elapsedMs = 0
  #jumpMs = 0
  readonly #startMs = 1_800_000_000_000
  readonly #timers = new Set<Timer>()

  wallMs(): number {
    return this.#startMs + this.#jumpMs + this.#elapsedMs
  }
  elapsedMs(): number {
    return this.#elapsedMs
  }
  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#elapsedMs + Math.max(0, delayMs), run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }
  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const stop = () => {
        cancel()
        reject(signal?.reason)
      }
      const cancel = this.after(durationMs, () => {
        signal?.removeEventListener('abort', stop)
        resolve()
      })
      signal?.addEventListener('abort', stop, { once: true })
    })
  }

  get timers(): number {
    return this.#timers.size
  }

  /** The wall clock is set; elapsed time does not notice. */
  jump(ms: number): void {
    this.#jumpMs += ms
  }

  /** The process was stopped, or its event loop held up: time has passed, and what was due meanwhile comes late. */
  async asleep(ms: number): Promise<void> {
    this.#elapsedMs += ms
    await this.advance(0)
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.#elapsedMs + ms
    await settle()
    for (;;) {
      const next = [...this.#timers].filter((timer) => timer.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (!next) break
      this.#timers.delete(next)
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs)
      next.run()
      await settle()
    }
    this.#elapsedMs = untilMs
    await settle()
  }
}

/** Lets promise chains run dry: several turns of the event loop, no real waiting. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 6; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
