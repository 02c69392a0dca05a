// Output of a container: from the engine while the container exists, from the files saved at its removal afterwards.
//
// The engine keeps whole lines: an unfinished last line is handed over when it is finished or the workload ends. Each frame begins with
// the time of its line. Lines longer than 16 KiB come in several frames of the same time, and the `local` log format loses the line
// break after the last of them: it is put back when the next line of that stream shows that there was one.
import type { Readable } from 'node:stream'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Emit, LogChunk, LogOptions, LogsEnd, Target } from '../driver.ts'
import type { Engine } from './engine.ts'
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
  return found.value && ours ? engineLogs(parts.engine, found.value.Id, options, emit, signal) : savedLogs(parts, target, options, emit)
}

async function engineLogs(
  engine: Engine,
  containerId: string,
  options: LogOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<LogsEnd, Failure>> {
  const query = {
    stdout: '1',
    stderr: '1',
    timestamps: '1',
    follow: options.follow ? '1' : '0',
    tail: options.tailLines === null ? 'all' : String(options.tailLines),
    ...(options.sinceMs !== null && { since: (options.sinceMs / 1000).toFixed(3) }),
  }
  const body = await engine.stream({ method: 'GET', path: `/containers/${containerId}/logs`, query }, signal)
  if (!body.ok) {
    if (body.error.kind === 'cancelled' && options.follow) return ok(END)
    return err(failureOf(body.error, 'read logs'))
  }
  return pump(engine, body.value, options, emit, signal)
}

async function pump(
  engine: Engine,
  body: Readable,
  options: LogOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<LogsEnd, Failure>> {
  const ready: LogChunk[] = []
  const lines = new StampedLines((chunk) => ready.push(chunk))
  const parser = new FrameParser((piece) => lines.push(piece))
  try {
    // The next piece of the answer is read when this one has been taken: a slow reader makes the engine wait.
    for await (const chunk of body) {
      if (Buffer.isBuffer(chunk)) parser.push(chunk)
      for (const one of ready.splice(0)) await emit(one)
      if (!parser.intact) return err(failure('runtime_error', 'The Docker Engine sent logs that could not be read.'))
    }
    // A proxy or a dying daemon may end the answer well in the middle of a frame.
    return parser.atBoundary ? ok(END) : err(failure('runtime_unreachable', 'The Docker Engine cut the logs off.'))
  } catch (error) {
    const fault = faultOfError(error, signal, engine.socketPath)
    // A follower that stops following has got what it wanted.
    return fault.kind === 'cancelled' && options.follow ? ok(END) : err(failureOf(fault, 'read logs'))
  }
}

interface StreamState {
  stamp: Buffer
  filled: number
  /** Time of the last frame, as written. */
  last: string
  atMs: number | null
  unfinished: boolean
}

/** Takes the time off each frame and gives it with every piece. */
export class StampedLines {
  readonly #emit: (chunk: LogChunk) => void
  readonly #streams: Record<LogChunk['stream'], StreamState> = { stdout: newState(), stderr: newState() }

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
    if (data.length === 0) return
    state.unfinished = data[data.length - 1] !== NEWLINE
    this.#emit({ stream: piece.stream, data, atMs: state.atMs })
  }

  #begin(stream: LogChunk['stream'], state: StreamState): void {
    const stamp = state.stamp.toString('latin1', 0, STAMP_BYTES - 1)
    if (state.unfinished && stamp !== state.last) this.#emit({ stream, data: Uint8Array.of(NEWLINE), atMs: state.atMs })
    const atMs = Date.parse(stamp)
    state.last = stamp
    state.atMs = Number.isNaN(atMs) ? null : atMs
    state.unfinished = false
  }
}

const newState = (): StreamState => ({ stamp: Buffer.alloc(STAMP_BYTES), filled: 0, last: '', atMs: null, unfinished: false })

/** Keeps the end of both streams in the instance's directory; called before a container is removed. */
export async function saveLogs(parts: Parts, target: Target, containerId: string, signal: AbortSignal): Promise<Result<void, Failure>> {
  const tails = { stdout: new Tail(SAVED_BYTES_MAX), stderr: new Tail(SAVED_BYTES_MAX) }
  const options: LogOptions = { follow: false, tailLines: SAVED_LINES_MAX, sinceMs: null }
  const read = await engineLogs(parts.engine, containerId, options, (chunk) => tails[chunk.stream].push(chunk.data), signal)
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
  if (!stdout && !stderr) return err(failure('not_found', `No output of incarnation ${target.incarnation} is kept.`))
  for (const [stream, saved] of [
    ['stdout', stdout],
    ['stderr', stderr],
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
