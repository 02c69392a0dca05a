// Reading the logs of an incarnation, also of one that has ended or was removed. The cursor is the absolute offset in the stream, which
// never goes back; whatever the keeper has dropped meanwhile is skipped and counted to the byte, never returned as zeros. The workload
// writes these files itself, so lines carry no time: chunks have `atMs: null` and `sinceMs` is refused.
//
// A reader that does not take a chunk holds up the reading and nothing else: the cursor stays where it is and the files stay bounded. They
// are kept open, so that also an incarnation which is discarded meanwhile can be read to its end.
//
// What cannot be promised: a workload that opens /dev/stdout again with truncation (`> /dev/stdout` in a shell) empties its own log; what
// it wrote since the keeper's last look is then gone and not counted. Of the two streams' lines only the order within each is known.
import { type FSWatcher, watch } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Emit, LogOptions, LogsEnd, Target } from '../driver.ts'
import { CANCELLED, type Context } from './context.ts'
import { errnoOf, fileFailure } from './failures.ts'
import { type LostFile, logFile, openLost, type Run, readRecord, runOf, Want } from './records.ts'
import { WOKEN } from './tracker.ts'

const CHUNK_BYTES = 65_536
const STREAMS = ['stdout', 'stderr'] as const
type Stream = (typeof STREAMS)[number]

const FROM_THE_BEGINNING: LogOptions = { follow: true, tailLines: null, sinceMs: null }

/** Looked at even without a sign of change, so that a lost one costs only this. */
const FOLLOW_POLL_MS = 500
/** A workload that writes byte by byte must not make us read byte by byte. */
const FOLLOW_GAP_MS = 10

interface Source {
  readonly stream: Stream
  readonly file: FileHandle
  /** Offset in the stream of the next byte to give. */
  cursor: number
  /** Nothing from this offset on is given; infinite when following. */
  end: number
  /** Dropped before they could be given: all of them, and those that no chunk has told yet. */
  lost: number
  untold: number
}

export async function readLogs(
  context: Context,
  target: Target,
  options: LogOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<LogsEnd, Failure>> {
  const run = runOf(context.stateDir, target.id, target.incarnation)
  let want: Want | null
  try {
    want = readRecord(Want, join(run.dir, 'want'))
  } catch (error) {
    return err(fileFailure(error, run.dir))
  }
  // Logs are asked for by number alone: the nonce of an earlier incarnation is not kept by the agent.
  if (!want || (target.nonce !== '' && want.nonce !== target.nonce))
    return err(failure('not_found', `There are no logs of incarnation ${target.incarnation}.`, { incarnation: target.incarnation }))
  if (options.sinceMs !== null)
    return err(
      failure('unsupported', 'The process runtime does not record when a line was written; ask for the last lines instead.', {
        runtime: 'process',
      }),
    )
  const sources: Source[] = []
  const lost = openLost(run)
  const files = { lost, sources }
  try {
    await openNew(run, files, options)
    if (options.follow) await follow(context, run, files, emit, signal)
    else await drain(files, emit, signal)
    if (signal.aborted && !options.follow) return err(CANCELLED)
    return ok({ lostBytes: sources.reduce((sum, source) => sum + source.lost, 0) })
  } catch (error) {
    return err(fileFailure(error, run.dir))
  } finally {
    lost.close()
    for (const source of sources) await source.file.close()
  }
}

interface Files {
  readonly lost: LostFile
  readonly sources: Source[]
}

/** Opens what is there and was not before: a follower may have come before the keeper, who makes the files. */
async function openNew(run: Run, { lost, sources }: Files, options: LogOptions): Promise<void> {
  for (const stream of STREAMS) {
    if (sources.some((source) => source.stream === stream)) continue
    const file = await openIfThere(logFile(run, stream))
    if (file) sources.push({ stream, file, ...(await startOf(lost, stream, file, options)), untold: 0 })
  }
}

async function follow(context: Context, run: Run, files: Files, emit: Emit, signal: AbortSignal): Promise<void> {
  let wake = () => {}
  const watcher = watchLogs(run, () => wake())
  try {
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve
      })
      const { kind, ...sight } = context.inspector.look(run)
      const over = kind === 'none' || (kind === 'ended' && 'settled' in sight && sight.settled)
      // All of what was not there when asked is new.
      await openNew(run, files, FROM_THE_BEGINNING)
      await drain(files, emit, signal)
      if (over || signal.aborted) return
      const stopper = new AbortController()
      await Promise.race([changed, context.tracker.next(run, FOLLOW_POLL_MS, AbortSignal.any([signal, stopper.signal]))])
      stopper.abort(WOKEN)
      if (!signal.aborted) await context.clock.sleep(FOLLOW_GAP_MS, signal).catch(() => undefined)
    }
  } finally {
    watcher?.close()
  }
}

/** A watch of its own: the driver's is deliberately not on this folder. Null when the machine has no more watches; then it is polled. */
function watchLogs(run: Run, onChange: () => void): FSWatcher | null {
  try {
    return watch(join(run.dir, 'logs'), { persistent: false }, onChange).on('error', () => undefined)
  } catch {
    return null
  }
}

/** Emits everything from the cursors on, in turns: a stream that never pauses must not keep the other one back. */
async function drain({ lost, sources }: Files, emit: Emit, signal: AbortSignal): Promise<void> {
  for (let moved = true; moved && !signal.aborted; ) {
    moved = false
    for (const source of sources) if (!signal.aborted && (await step(lost, source, emit))) moved = true
  }
}

/** The next chunk of one stream; false when there is none. */
async function step(lost: LostFile, source: Source, emit: Emit): Promise<boolean> {
  const before = lost.read()[source.stream]
  skip(source, before.dropped)
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(0, source.end - source.cursor)))
  const { bytesRead } = await source.file.read(buffer, 0, buffer.length, source.cursor - before.base)
  // Bytes dropped while we read may have come back as zeros.
  const after = lost.read()[source.stream]
  if (after.base !== before.base) return true
  const from = source.cursor
  skip(source, Math.min(after.dropped, from + bytesRead))
  const data = buffer.subarray(source.cursor - from, bytesRead)
  source.cursor = from + bytesRead
  if (data.length === 0 && source.untold === 0) return bytesRead > 0
  const lostBytes = source.untold
  source.untold = 0
  await emit({ stream: source.stream, data, atMs: null, ...(lostBytes > 0 && { lostBytes }) })
  return true
}

/** Goes on at this offset if that is further. */
function skip(source: Source, to: number): void {
  const missing = Math.min(to, source.end) - source.cursor
  if (missing <= 0) return
  source.cursor += missing
  source.lost += missing
  source.untold += missing
}

/** Without `follow` it is what was there when asked: a workload that prints faster than its reader reads would never be done. */
async function startOf(lost: LostFile, stream: Stream, file: FileHandle, options: LogOptions) {
  let { dropped, base } = lost.read()[stream]
  let size = 0
  // The file may be emptied between the two looks.
  for (let before = Number.NaN; before !== base; ) {
    before = base
    size = base + (await file.stat()).size
    ;({ dropped, base } = lost.read()[stream])
  }
  const cursor = await firstByte(file, { dropped, base, size }, options.tailLines)
  return { cursor, end: options.follow ? Number.POSITIVE_INFINITY : size, lost: dropped }
}

/** Where the last `lines` lines begin; where the log begins for null. */
async function firstByte(
  file: FileHandle,
  { dropped, base, size }: { readonly dropped: number; readonly base: number; readonly size: number },
  lines: number | null,
): Promise<number> {
  if (lines === null) return dropped
  if (lines === 0) return size
  let missing = lines
  // The newline that ends the last line does not begin another.
  let skipped = false
  for (let to = size; to > dropped; ) {
    const from = Math.max(dropped, to - CHUNK_BYTES)
    const buffer = Buffer.alloc(to - from)
    await file.read(buffer, 0, buffer.length, from - base)
    for (let at = buffer.length - 1; at >= 0; at -= 1) {
      if (buffer[at] !== 10) {
        skipped = true
        continue
      }
      if (!skipped) {
        skipped = true
        continue
      }
      missing -= 1
      if (missing === 0) return from + at + 1
    }
    to = from
  }
  return dropped
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}
