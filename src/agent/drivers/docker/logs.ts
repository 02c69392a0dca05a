// Output of a container: from the engine while the container exists, from the files saved at its removal afterwards.
//
// The engine keeps whole lines: an unfinished last line is handed over when it is finished or the workload ends.
//
// A slow reader makes the engine wait. But one that follows from far behind loses its place in the engine when files rotate past it
// (Docker 20.10 then skips what it still keeps, or says nothing more). So after a long wait, or when the engine falls silent after a
// short one, it is asked anew, from the last time on, and what was given already is passed over.
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
import { StampedLines } from './stamped-lines.ts'

const NEWLINE = 10
/** Kept of each stream when a container is removed. */
const SAVED_BYTES_MAX = 65_536
const SAVED_LINES_MAX = 10_000
const END: LogsEnd = { lostBytes: null }
/** Waited for the reader in all, or after a wait for the engine, before it is asked anew: it then reads up to 16 MiB. */
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
      const end: PumpEnd = await pump(body, reader, follow ? parts.clock : null, async () => {
        const fromMs = follow ? reader.lines.lastMs : null
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

/** One answer of the engine: the next bytes of it are read when the reader has taken those before. `clock`: of a follower. */
async function pump(body: Readable, reader: Reader, clock: Clock | null, anew: () => Promise<Readable | null>): Promise<PumpEnd> {
  const pieces: FramePiece[] = []
  const parser = new FrameParser((piece) => pieces.push(piece))
  const resumed = async (): Promise<PumpEnd | null> => {
    const fresh = await anew()
    if (!fresh) return null
    reader.beginAnew()
    return { kind: 'anew', body: fresh }
  }
  for await (const chunk of heard(body, () => (reader.waitedMs > 0 ? clock : null))) {
    if (chunk) parser.push(chunk)
    for (const piece of pieces.splice(0)) {
      await reader.take(piece)
      const end = piece.ends && reader.waitedMs >= RESUME_AFTER_MS ? await resumed() : null
      if (end) return end
    }
    if (!parser.intact) return { kind: 'foreign' }
    const end = !chunk && parser.atBoundary ? await resumed() : null
    if (end) return end
  }
  return { kind: parser.atBoundary ? 'end' : 'cut' }
}

/** What the engine says, and null each time that it says nothing for a while by the clock that is given then. */
async function* heard(body: Readable, clock: () => Clock | null): AsyncGenerator<Buffer | null, void> {
  const chunks: AsyncIterator<Buffer, void> = body[Symbol.asyncIterator]()
  try {
    for (let next = chunks.next(); ; ) {
      const said = await withPatience(next, clock())
      if (said?.done) return
      yield said?.value ?? null
      if (said) next = chunks.next()
    }
  } finally {
    body.destroy()
  }
}

async function withPatience<T>(next: Promise<T>, clock: Clock | null): Promise<T | null> {
  if (!clock) return next
  const patience = Promise.withResolvers<null>()
  const cancel = clock.after(RESUME_AFTER_MS, () => patience.resolve(null))
  try {
    return await Promise.race([next, patience.promise])
  } finally {
    cancel()
  }
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

  async take(piece: FramePiece): Promise<void> {
    this.lines.push(piece)
    for (const chunk of this.#ready.splice(0)) {
      const taken = this.#emit(chunk)
      if (!taken) continue
      const begunMs = this.#clock.elapsedMs()
      await taken
      this.waitedMs += this.#clock.elapsedMs() - begunMs
    }
  }

  beginAnew(): void {
    this.waitedMs = 0
    this.lines.passOverGiven()
  }
}

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
