// The engine's multiplexed streams: 8 bytes of header (stream, three zeros, length as big endian) before each piece of stdout or stderr.
// Incremental: bytes come in any split. Payload is handed on as it arrives, so a frame is never gathered whole: a hostile length costs
// nothing. `begins` marks the first piece of a frame, which is where the engine writes a timestamp.
export interface FramePiece {
  readonly stream: 'stdout' | 'stderr'
  readonly data: Uint8Array
  /** First piece of its frame. */
  readonly begins: boolean
  /** Last piece of its frame. */
  readonly ends: boolean
}

const HEADER_BYTES = 8
const STREAMS: Readonly<Record<number, FramePiece['stream']>> = { 0: 'stdout', 1: 'stdout', 2: 'stderr' }

export class FrameParser {
  readonly #header = Buffer.alloc(HEADER_BYTES)
  readonly #emit: (piece: FramePiece) => void
  #headerFilled = 0
  #left = 0
  #begins = true
  #stream: FramePiece['stream'] = 'stdout'
  #broken = false

  constructor(emit: (piece: FramePiece) => void) {
    this.#emit = emit
  }

  /** True until bytes came that are not of this format; then everything further is dropped. */
  get intact(): boolean {
    return !this.#broken
  }

  /** Nothing half received. */
  get atBoundary(): boolean {
    return this.#left === 0 && this.#headerFilled === 0
  }

  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length && !this.#broken) at += this.#left > 0 ? this.#payload(chunk, at) : this.#head(chunk, at)
  }

  #payload(chunk: Uint8Array, at: number): number {
    const size = Math.min(this.#left, chunk.length - at)
    this.#left -= size
    this.#emit({ stream: this.#stream, data: chunk.subarray(at, at + size), begins: this.#begins, ends: this.#left === 0 })
    this.#begins = false
    return size
  }

  #head(chunk: Uint8Array, at: number): number {
    const size = Math.min(HEADER_BYTES - this.#headerFilled, chunk.length - at)
    this.#header.set(chunk.subarray(at, at + size), this.#headerFilled)
    this.#headerFilled += size
    if (this.#headerFilled < HEADER_BYTES) return size
    const stream = STREAMS[this.#header[0] ?? 255]
    if (!stream || this.#header[1] !== 0 || this.#header[2] !== 0 || this.#header[3] !== 0) {
      this.#broken = true
      return size
    }
    this.#stream = stream
    this.#left = this.#header.readUInt32BE(4)
    this.#headerFilled = 0
    this.#begins = true
    return size
  }
}
