// Time of a simulation: one heap of events for everything, and clocks that look at it as one machine or one process does.
//
// Nothing happens but in an event, one after the other; after each one everything it started runs until it waits for time again. Two
// events due at the same moment come in an order that the seed decides.
import type { Clock, Random } from '../../src/base/clock.ts'

export const START_MS = 1_800_000_000_000

interface Due {
  readonly atMs: number
  readonly tie: number
  readonly run: () => void
  dead: boolean
}

const isSooner = (left: Due, right: Due): boolean => left.atMs < right.atMs || (left.atMs === right.atMs && left.tie < right.tie)

/** Everything that a promise chain can still do without time is done when this resolves: Node runs ticks when no microtask is left. */
const drained = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

export class SimTime {
  nowMs = 0
  events = 0
  readonly #heap: Due[] = []
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** Runs it then; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void {
    const due: Due = { atMs: this.nowMs + Math.max(0, delayMs), tie: this.#random.fraction(), run, dead: false }
    this.#push(due)
    return () => {
      due.dead = true
    }
  }

  sleep(durationMs: number): Promise<void> {
    return new Promise((resolve) => void this.after(durationMs, resolve))
  }

  /** `breathe` is waited for now and then, so that whoever shares the process gets a turn. */
  async runUntil(untilMs: number, stepped: () => void, breathe: () => Promise<void>): Promise<void> {
    await drained()
    for (let next = this.#heap[0]; next && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop()
      if (next.dead) continue
      this.nowMs = Math.max(this.nowMs, next.atMs)
      this.events += 1
      next.run()
      await drained()
      stepped()
      if (this.events % 20_000 === 0) await breathe()
    }
    this.nowMs = untilMs
  }

  #push(due: Due): void {
    const heap = this.#heap
    let at = heap.push(due) - 1
    while (at > 0) {
      const up = (at - 1) >> 1
      const parent = heap[up]
      if (!parent || !isSooner(due, parent)) break
      heap[at] = parent
      at = up
    }
    heap[at] = due
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (!last || heap.length === 0) return
    let at = 0
    for (;;) {
      const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]]
      if (!left) break
      const child = right && isSooner(right, left) ? right : left
      if (!isSooner(child, last)) break
      heap[at] = child
      at = child === left ? 2 * at + 1 : 2 * at + 2
    }
    heap[at] = last
  }
}

/** What time is on one machine: its wall clock may be set and may run fast; while it is suspended its monotonic clock stands. */
export class MachineTime {
  readonly time: SimTime
  /** Of the wall clock, from the true time. */
  offsetMs = 0
  /** How fast its clocks run. */
  rate = 1
  #suspendedMs = 0
  #suspendedAtMs: number | null = null
  #rateFromMs = 0
  #rateBaseMs = 0

  constructor(time: SimTime) {
    this.time = time
  }

  get suspended(): boolean {
    return this.#suspendedAtMs !== null
  }

  elapsedMs(): number {
    const upMs = (this.#suspendedAtMs ?? this.time.nowMs) - this.#suspendedMs
    return this.#rateBaseMs + (upMs - this.#rateFromMs) * this.rate
  }

  wallMs(): number {
    return Math.floor(START_MS + this.time.nowMs + this.elapsedMs() - this.#trueElapsedMs() + this.offsetMs)
  }

  setRate(rate: number): void {
    const nowMs = this.elapsedMs()
    this.#rateFromMs = this.#trueElapsedMs()
    this.#rateBaseMs = nowMs
    this.rate = rate
  }

  suspend(): void {
    this.#suspendedAtMs ??= this.time.nowMs
  }

  resume(): void {
    if (this.#suspendedAtMs === null) return
    this.#suspendedMs += this.time.nowMs - this.#suspendedAtMs
    this.#suspendedAtMs = null
  }

  #trueElapsedMs(): number {
    return (this.#suspendedAtMs ?? this.time.nowMs) - this.#suspendedMs
  }
}

/** Timers are a little late, each by itself. */
const LATE_MS = 0.4

/** The clock of one life of one process. Frozen, it keeps what is due; dead, it never fires again. */
export class LifeClock implements Clock {
  readonly machine: MachineTime
  readonly #random: Random
  #frozen = false
  #dead = false
  #held: (() => void)[] = []

  constructor(machine: MachineTime, random: Random) {
    this.machine = machine
    this.#random = random
  }

  get dead(): boolean {
    return this.#dead
  }

  get standing(): boolean {
    return this.#frozen || this.machine.suspended
  }

  wallMs(): number {
    return this.machine.wallMs()
  }

  elapsedMs(): number {
    return this.machine.elapsedMs()
  }

  after(delayMs: number, run: () => void): () => void {
    const dueMs = this.machine.elapsedMs() + Math.max(0, delayMs)
    let off = () => {}
    const arm = () => {
      const leftMs = (dueMs - this.machine.elapsedMs()) / this.machine.rate
      off = this.machine.time.after(Math.max(0, leftMs) + this.#random.fraction() * LATE_MS, () => this.whenAwake(fire))
    }
    const fire = () => {
      if (stopped) return
      // A machine that was suspended has waited less than the world.
      if (this.machine.elapsedMs() < dueMs - 1e-6) arm()
      else run()
    }
    let stopped = false
    arm()
    return () => {
      stopped = true
      off()
    }
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

  /** Runs it now, or when the process goes on; never in one that has died. */
  whenAwake(run: () => void): void {
    if (this.#dead) return
    if (this.standing) this.#held.push(run)
    else run()
  }

  freeze(): void {
    this.#frozen = true
  }

  /** It goes on, with all that came meanwhile; after `machine.resume()`, too. */
  thaw(): void {
    this.#frozen = false
    if (this.standing) return
    const held = this.#held
    this.#held = []
    for (const run of held) this.machine.time.after(0, () => this.whenAwake(run))
  }

  kill(): void {
    this.#dead = true
    this.#held = []
  }
}
