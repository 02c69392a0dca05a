// The real clock, shifted at will: lets a test on a real database make "in five minutes" be now. Waits stay real; nudge what waits.
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/system.ts'

export class ShiftClock implements Clock {
  #shiftMs = 0
  wallMs(): number {
    return systemClock.wallMs() + this.#shiftMs
  }
  elapsedMs(): number {
    return systemClock.elapsedMs() + this.#shiftMs
  }
  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(durationMs, signal)
  }
  after(delayMs: number, run: () => void): () => void {
    return systemClock.after(delayMs, run)
  }
  /** Time passes for whoever looks next. */
  shift(ms: number): void {
    this.#shiftMs += ms
  }
}
