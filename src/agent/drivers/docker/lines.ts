// Bytes in any split to whole lines. A line longer than the bound means that the other side does not speak this format.
const LINE_BYTES_MAX = 2 ** 20
const NEWLINE = 10

export class LineSplitter {
  readonly #emit: (line: Buffer) => void
  #parts: Buffer[] = []
  #size = 0
  #broken = false

  constructor(emit: (line: Buffer) => void) {
    this.#emit = emit
  }

  get intact(): boolean {
    return !this.#broken
  }

  push(chunk: Buffer): void {
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at >= 0 && !this.#broken; at = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, at))
      if (this.#size > 0 && !this.#broken) this.#emit(Buffer.concat(this.#parts))
      this.#parts = []
      this.#size = 0
      from = at + 1
    }
    // Copied: the rest of a chunk would otherwise keep all of it.
    this.#keep(Buffer.from(chunk.subarray(from)))
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return
    this.#size += part.length
    if (this.#size > LINE_BYTES_MAX) this.#broken = true
    else this.#parts.push(part)
  }
}
