// Output of a container: from the engine while the container exists, from the files saved at its removal afterwards.
//
// The engine keeps whole lines: an unfinished last line is handed over when it is finished or the workload ends. Each frame begins with
// the time of its line. Lines longer than 16 KiB come in several frames of the same time, and the `local` log format loses the line
// break after the last of them: it is put back when the next line of that stream shows that there was one.
//
// A slow reader makes the engine wait. But one that follows from far behind loses its place in the engine when files rotate past it
// (Docker 20.10 then skips what it still keeps, or says nothing more). So after a wait the engine is asked anew, from the last time on,
// and what was given already is passed over.
import type { Readable } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Emit, LogChunk, LogOptions, LogsEnd, Target } from '../driver.ts'
import { failureOf, faultOfError } from './engine-fault.ts'
import { inspect, type Parts } from './find.ts'
import { FrameParser, type FramePiece } from './frames.ts'
import { Tail } from './guest.ts'
import { containerName, LABEL } from './marks.ts'

/** `2006-01-02T15:04:05.000000000Z` and a space. */
const STAMP_BYTES = 31
const NEWLINE = 10
/** Kept of each stream when a container is removed. */
const SAVED_BYTES_MAX = 65_536
const SAVED_LINES_MAX = 10_000
const END: LogsEnd = { lostBytes: null }
/** Waited for the reader in all before the engine is asked anew; it then reads up to 16 MiB, so not for every short wait. */
const RESUME_AFTER_MS = 2000
/** Of two streams, a line may be written behind one of the other stream that has a later time. */
const RESUME_OVERLAP_MS = 1000

export async function readLogs(
  parts: Parts,
  target: Target,
  options: LogOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<LogsEnd, Failure>> {
  const found = await inspect(parts.engine, containerName(target), signal)
  if (!found.ok) return err(failureOf(found.error, 'describe a container'))
  // Logs are asked for by number alone (the nonce of an earlier incarnation is not kept), but never those of somebody else's container.
  const labels = found.value?.Config.Labels ?? {}
  const ours = labels[LABEL.instance] === target.id && (target.nonce === '' || labels[LABEL.nonce] === target.nonce)
  return found.value && ours ? engineLogs(parts, found.value.Id, options, emit, signal) : savedLogs(parts, target, options, emit)
}

async function engineLogs(
  parts: Parts,
  containerId: string,
  options: LogOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<LogsEnd, Failure>> {
  const { follow } = options
  const ask = (tailLines: number | null, sinceMs: number | null) => {
    const query = {
      stdout: '1',
      stderr: '1',
      timestamps: '1',
      follow: follow ? '1' : '0',
      tail: tailLines === null ? 'all' : String(tailLines),
      ...(sinceMs !== null && { since: (sinceMs / 1000).toFixed(3) }),
    }
    return parts.engine.stream({ method: 'GET', path: `/containers/${containerId}/logs`, query }, signal)
  }
  const first = await ask(options.tailLines, options.sinceMs)
  if (!first.ok) {
    if (first.error.kind === 'cancelled' && follow) return ok(END)
    return err(failureOf(first.error, 'read logs'))
  }
  const reader = new Reader(parts.clock, emit)
  try {
    for (let body: Readable | null = first.value; body; ) {
      const end: PumpEnd = await pump(body, reader, async () => {
        const fromMs = follow && reader.waitedMs >= RESUME_AFTER_MS ? reader.lines.lastMs : null
        const fresh = fromMs === null ? null : await ask(null, fromMs - RESUME_OVERLAP_MS)
        // Otherwise, such as after its removal, the answer that is open already is the only one.
        return fresh?.ok ? fresh.value : null
      })
      if (end.kind === 'foreign') return err(failure('runtime_error', 'The Docker Engine sent logs that could not be read.'))
      // A proxy or a dying daemon may end the answer well in the middle of a frame.
      if (end.kind === 'cut') return err(failure('runtime_unreachable', 'The Docker Engine cut the logs off.'))
      body = end.kind === 'anew' ? end.body : null
    }
    return ok(END)
  } catch (error) {
    const fault = faultOfError(error, signal, parts.engine.socketPath)
    // A follower that stops following has got what it wanted.
    return fault.kind === 'cancelled' && follow ? ok(END) : err(failureOf(fault, 'read logs'))
  }
}

type PumpEnd = { readonly kind: 'end' | 'foreign' | 'cut' } | { readonly kind: 'anew'; readonly body: Readable }

/** One answer of the engine: the next bytes of it are read when the reader has taken those before. */
async function pump(body: Readable, reader: Reader, anew: () => Promise<Readable | null>): Promise<PumpEnd> {
  const pieces: FramePiece[] = []
  const parser = new FrameParser((piece) => pieces.push(piece))
  for await (const chunk of body) {
    if (Buffer.isBuffer(chunk)) parser.push(chunk)
    for (const piece of pieces.splice(0)) {
      const waited = await reader.take(piece)
      const fresh = waited && piece.ends ? await anew() : null
      if (!fresh) continue
      reader.beginAnew()
      return { kind: 'anew', body: fresh }
    }
    if (!parser.intact) return { kind: 'foreign' }
  }
  return { kind: parser.atBoundary ? 'end' : 'cut' }
}

/** Where the lines go, and how long they had to wait there. */
class Reader {
  readonly lines: StampedLines
  readonly #ready: LogChunk[] = []
  readonly #clock: Clock
  readonly #emit: Emit
  /** Since the engine was last asked. */
  waitedMs = 0

  constructor(clock: Clock, emit: Emit) {
    this.#clock = clock
    this.#emit = emit
    this.lines = new StampedLines((chunk) => this.#ready.push(chunk))
  }

  /** False when it has not had to wait since the engine was asked. */
  async take(piece: FramePiece): Promise<boolean> {
    this.lines.push(piece)
    for (const chunk of this.#ready.splice(0)) {
      const taken = this.#emit(chunk)
      if (!taken) continue
      const begunMs = this.#clock.elapsedMs()
      await taken
      this.waitedMs += this.#clock.elapsedMs() - begunMs
    }
    return this.waitedMs > 0
  }

  beginAnew(): void {
    this.waitedMs = 0
    this.lines.passOverGiven()
  }
}

interface StreamState {
  stamp: Buffer
  filled: number
  /** Time of the last frame, as written. */
  last: string
  atMs: number | null
  unfinished: boolean
  /** Frames given of the time `last`. */
  given: number
  /** Frames before this time, and so many of this very time, have been given. */
  passOver: { readonly stamp: string; left: number } | null
  passing: boolean
}

/** Takes the time off each frame and gives it with every piece. */
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
    for (const state of Object.values(this.#streams))
      state.passOver = state.last === '' ? { stamp: this.#first, left: 0 } : { stamp: state.last, left: state.given }
  }

  #begin(stream: LogChunk['stream'], state: StreamState): void {
    const stamp = state.stamp.toString('latin1', 0, STAMP_BYTES - 1)
    state.passing = isGiven(state, stamp)
    if (state.passing) return
    state.given = stamp === state.last ? state.given + 1 : 1
    if (this.#first === '') this.#first = stamp
    if (state.unfinished && stamp !== state.last) this.#emit({ stream, data: Uint8Array.of(NEWLINE), atMs: state.atMs })
    const atMs = Date.parse(stamp)
    state.last = stamp
    state.atMs = Number.isNaN(atMs) ? null : atMs
    state.unfinished = false
  }
}

/** Times are text of one width, so their order is that of the text. */
function isGiven(state: StreamState, stamp: string): boolean {
  const { passOver } = state
  if (!passOver) return false
  if (stamp < passOver.stamp) return true
  if (stamp === passOver.stamp && passOver.left > 0) {
    passOver.left -= 1
    return true
  }
  state.passOver = null
  return false
}

const newState = (): StreamState => ({
  stamp: Buffer.alloc(STAMP_BYTES),
  filled: 0,
  last: '',
  atMs: null,
  unfinished: false,
  given: 0,
  passOver: null,
  passing: false,
})

/** Keeps the end of both streams in the instance's directory; called before a container is removed. */
export async function saveLogs(parts: Parts, target: Target, containerId: string, signal: AbortSignal): Promise<Result<void, Failure>> {
  const tails = { stdout: new Tail(SAVED_BYTES_MAX), stderr: new Tail(SAVED_BYTES_MAX) }
  const options: LogOptions = { follow: false, tailLines: SAVED_LINES_MAX, sinceMs: null }
  const read = await engineLogs(parts, containerId, options, (chunk) => tails[chunk.stream].push(chunk.data), signal)
  if (!read.ok) return read
  for (const stream of ['stdout', 'stderr'] as const) {
    const saved = await parts.files.write(target, stream, tails[stream].bytes())
    if (!saved.ok) return saved
  }
  return ok(undefined)
}

/** Saved output has one time, that of its end: it is given whole when its end is new enough. */
async function savedLogs(parts: Parts, target: Target, options: LogOptions, emit: Emit): Promise<Result<LogsEnd, Failure>> {
  const [stdout, stderr] = await Promise.all([parts.files.readSaved(target, 'stdout'), parts.files.readSaved(target, 'stderr')])
  if (!stdout.ok) return stdout
  if (!stderr.ok) return stderr
  if (!stdout.value && !stderr.value) return err(failure('not_found', `No output of incarnation ${target.incarnation} is kept.`))
  for (const [stream, saved] of [
    ['stdout', stdout.value],
    ['stderr', stderr.value],
  ] as const) {
    if (!saved || (options.sinceMs !== null && saved.atMs < options.sinceMs)) continue
    const data = options.tailLines === null ? saved.bytes : lastLines(saved.bytes, options.tailLines)
    if (data.length > 0) await emit({ stream, data, atMs: null })
  }
  return ok(END)
}

export function lastLines(bytes: Buffer, lines: number): Buffer {
  let from = bytes.length
  for (let left = lines; left > 0 && from > 0; left -= 1) {
    // The break that ends a line begins none; a negative offset would count from the end.
    from = from < 2 ? 0 : bytes.lastIndexOf(NEWLINE, from - 2) + 1
  }
  return bytes.subarray(from)
}
