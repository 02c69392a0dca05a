// Frames of a container's output, each with the time of its line before it, to output with its time beside it, nothing twice.
//
// Lines longer than 16 KiB come in several frames of the same time, and the `local` log format loses the line break after the last of
// them: it is put back when the next line of that stream shows that there was one.
//
// The engine repeats itself: Docker 20.10 gives a follower a file from its beginning again when it meets its end in the moment of a
// rotation, and an answer that is asked for anew begins before the place that was reached. A frame is told by its time, which has
// nanoseconds. That times go back is no sign by itself: somebody may have set the clock.
import type { LogChunk } from '../driver.ts'
import type { FramePiece } from './frames.ts'

/** `2006-01-02T15:04:05.000000000Z` and a space. */
const STAMP_BYTES = 31
const NEWLINE = 10
/** Of the file that may come again, 8 MiB, those of all lines but the very shortest; twice as many are remembered. */
const REMEMBERED_MIN = 65_536
/** More is not exact in a number of nanoseconds; a hundred days. */
const WRAP_MS = 2 ** 33

interface StreamState {
  readonly given: Remembered
  stamp: Buffer
  filled: number
  /** Time of the last frame, as written, and how many of that time were given. */
  last: string
  lastFrames: number
  atMs: number | null
  unfinished: boolean
  /** Under way in what may have been given: all before this time was, and so many more of the time `last`. */
  repeat: { readonly before: string; left: number } | null
  passing: boolean
}

export class StampedLines {
  readonly #emit: (chunk: LogChunk) => void
  readonly #streams: Record<LogChunk['stream'], StreamState> = { stdout: newState(), stderr: newState() }
  /** Time of the first frame of all; nothing before it was asked for. */
  #first = ''

  constructor(emit: (chunk: LogChunk) => void) {
    this.#emit = emit
  }

  push(piece: FramePiece): void {
    const state = this.#streams[piece.stream]
    if (piece.begins) state.filled = 0
    const taken = Math.min(STAMP_BYTES - state.filled, piece.data.length)
    state.stamp.set(piece.data.subarray(0, taken), state.filled)
    state.filled += taken
    if (state.filled < STAMP_BYTES) return
    if (taken > 0) this.#begin(piece.stream, state)
    const data = piece.data.subarray(taken)
    if (data.length === 0 || state.passing) return
    state.unfinished = data[data.length - 1] !== NEWLINE
    this.#emit({ stream: piece.stream, data, atMs: state.atMs })
  }

  /** The latest time of all; null before the first line. */
  get lastMs(): number | null {
    const times = Object.values(this.#streams).flatMap(({ atMs }) => (atMs === null ? [] : [atMs]))
    return times.length === 0 ? null : Math.max(...times)
  }

  /** What comes now may begin with frames that came before: those give nothing. */
  passOverGiven(): void {
    for (const state of Object.values(this.#streams)) state.repeat = { before: state.last || this.#first, left: state.lastFrames }
  }

  #begin(stream: LogChunk['stream'], state: StreamState): void {
    const stamp = state.stamp.toString('latin1', 0, STAMP_BYTES - 1)
    const atMs = Date.parse(stamp)
    const time = (atMs % WRAP_MS) * 1e6 + Number(stamp.slice(23, 29))
    state.passing = isGiven(state, stamp, time)
    if (state.passing) return
    state.given.add(time)
    if (this.#first === '') this.#first = stamp
    if (state.unfinished && stamp !== state.last) this.#emit({ stream, data: Uint8Array.of(NEWLINE), atMs: state.atMs })
    state.lastFrames = stamp === state.last ? state.lastFrames + 1 : 1
    state.last = stamp
    state.atMs = Number.isNaN(atMs) ? null : atMs
    state.unfinished = false
  }
}

/** Times are text of one width, so their order is that of the text. */
function isGiven(state: StreamState, stamp: string, time: number): boolean {
  const { repeat } = state
  if (stamp === state.last) {
    // Whole lines have times of their own: only frames of one long line share theirs.
    if (!repeat || repeat.left === 0) return !state.unfinished
    repeat.left -= 1
    return true
  }
  const given = state.given.has(time) || (repeat !== null && stamp < repeat.before)
  state.repeat = given ? { before: repeat?.before ?? '', left: state.lastFrames } : null
  return given
}

/** A set of the newest numbers: at least {@link REMEMBERED_MIN}, at most twice as many. */
class Remembered {
  #older: ReadonlySet<number> = new Set()
  #newer = new Set<number>()

  add(item: number): void {
    if (this.#newer.size >= REMEMBERED_MIN) {
      this.#older = this.#newer
      this.#newer = new Set()
    }
    this.#newer.add(item)
  }

  has(item: number): boolean {
    return this.#newer.has(item) || this.#older.has(item)
  }
}

const newState = (): StreamState => ({
  given: new Remembered(),
  stamp: Buffer.alloc(STAMP_BYTES),
  filled: 0,
  last: '',
  lastFrames: 0,
  atMs: null,
  unfinished: false,
  repeat: null,
  passing: false,
})
