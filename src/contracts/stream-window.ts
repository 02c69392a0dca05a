// The window of one answered request on the link: how much output the agent may send before the reader has taken some of it. Pure; both
// ends keep one half of it. What holds:
// - Never more than `windowBytes` are on the way or wait at the control plane, counted with what each chunk costs beside its data.
// - It never stalls: what has been taken is given back as credit from a quarter of the window on, and a chunk costs less than the rest.
// Windows of different requests know nothing of each other, so a reader that stands still holds up nobody else.
import { assert } from '../base/assert.ts'

/** Of each request, given with it. At 50 ms to the node and back this allows 10 MB/s. */
export const WINDOW_BYTES = 2 ** 19
/** Output bytes in one chunk at most; four thirds of it as base64. A whole number of base64 groups. */
export const CHUNK_BYTES_MAX = 48 * 2 ** 10
/** A chunk of one byte takes this much more: its names on the wire, its objects in memory. */
const CHUNK_OVERHEAD_BYTES = 256

const CHUNK_COST_MAX = (CHUNK_BYTES_MAX / 3) * 4 + CHUNK_OVERHEAD_BYTES
export const WINDOW_BYTES_MIN = 2 * CHUNK_COST_MAX

assert(CHUNK_BYTES_MAX % 3 === 0, 'a full chunk has no padding')
assert(WINDOW_BYTES >= WINDOW_BYTES_MIN, 'a window takes whole chunks')

/** Bytes that a chunk takes from the window; `data` is base64. */
export const chunkCost = (chunk: { readonly data: string }): number => chunk.data.length + CHUNK_OVERHEAD_BYTES

/** The agent's half. */
export class SendWindow {
  #left: number

  constructor(windowBytes: number) {
    this.#left = windowBytes
  }

  /** False = nothing was spent: wait for credit. */
  spend(cost: number): boolean {
    if (cost > this.#left) return false
    this.#left -= cost
    return true
  }

  grant(bytes: number): void {
    this.#left += bytes
  }
}

/** The control plane's half. */
export class ReceiveWindow {
  readonly #windowBytes: number
  #open: number
  #taken = 0

  constructor(windowBytes: number) {
    this.#windowBytes = windowBytes
    this.#open = windowBytes
  }

  /** A chunk has come; false = it is beyond the window, so the agent does not keep to the protocol. */
  receive(cost: number): boolean {
    this.#open -= cost
    return this.#open >= 0
  }

  /** The reader has taken a chunk. Returns the credit to send now, in bytes; 0 = none yet. */
  take(cost: number): number {
    this.#taken += cost
    if (this.#taken < this.#windowBytes / 4) return 0
    const credit = this.#taken
    this.#taken = 0
    this.#open += credit
    return credit
  }
}
