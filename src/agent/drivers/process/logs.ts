// Reading the logs of an incarnation, also of one that has ended or was removed. The cursor is the absolute offset in the stream, which
// never goes back; whatever the keeper has dropped meanwhile is skipped, never returned as zeros. The workload writes these files itself,
// so lines carry no time: chunks have `atMs: null` and `sinceMs` is refused.
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
import { logFile, type Run, readLost, readRecord, runOf, Want } from './records.ts'

const CHUNK_BYTES = 65_536
const STREAMS = ['stdout', 'stderr'] as const
type Stream = (typeof STREAMS)[number]

/** Looked at even without a sign of change, so that a lost one costs only this. */
const FOLLOW_POLL_MS = 500
/** A workload that writes byte by byte must not make us read byte by byte. */
const FOLLOW_GAP_MS = 10

interface Source {
  readonly stream: Stream
  readonly file: FileHandle
  cursor: number
}

export async function readLogs(
  context: Context,
  target: Target,
  options: LogOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<LogsEnd, Failure>> {
  const run = runOf(context.stateDir, target.id, target.incarnation)
  const want = readRecord(Want, join(run.dir, 'want'))
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
  try {
    for (const stream of STREAMS) {
      const file = await openIfThere(logFile(run, stream))
      if (file) sources.push({ stream, file, cursor: 0 })
    }
    for (const source of sources) source.cursor = await firstByte(run, source, options.tailLines)
    if (options.follow) await follow(context, run, sources, emit, signal)
    else for (const source of sources) await drain(run, source, emit, signal)
    if (signal.aborted && !options.follow) return err(CANCELLED)
    const lost = readLost(run)
    return ok({ lostBytes: lost.stdout.dropped + lost.stderr.dropped })
  } catch (error) {
    return err(fileFailure(error, run.dir))
  } finally {
    for (const source of sources) await source.file.close()
  }
}

async function follow(context: Context, run: Run, sources: readonly Source[], emit: Emit, signal: AbortSignal): Promise<void> {
  let wake = () => {}
  const watcher = watchLogs(run, () => wake())
  try {
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve
      })
      const { kind, ...sight } = context.inspector.look(run)
      const over = kind === 'none' || (kind === 'ended' && 'settled' in sight && sight.settled)
      for (const source of sources) await drain(run, source, emit, signal)
      if (over || signal.aborted) return
      const stopper = new AbortController()
      await Promise.race([changed, context.tracker.next(run, FOLLOW_POLL_MS, AbortSignal.any([signal, stopper.signal]))])
      stopper.abort()
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

/** Emits everything from the cursor to the present end. */
async function drain(run: Run, source: Source, emit: Emit, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const before = readLost(run)[source.stream]
    source.cursor = Math.max(source.cursor, before.dropped)
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
    const { bytesRead } = await source.file.read(buffer, 0, CHUNK_BYTES, source.cursor - before.base)
    if (bytesRead === 0) return
    // Bytes dropped while we read may have come back as zeros.
    const after = readLost(run)[source.stream]
    if (after.base !== before.base) continue
    const gone = Math.min(bytesRead, Math.max(0, after.dropped - source.cursor))
    source.cursor += bytesRead
    if (gone < bytesRead) emit({ stream: source.stream, data: buffer.subarray(gone, bytesRead), atMs: null })
  }
}

/** Where the last `lines` lines begin; where the log begins for null. */
async function firstByte(run: Run, source: Source, lines: number | null): Promise<number> {
  const { dropped, base } = readLost(run)[source.stream]
  if (lines === null) return dropped
  const end = base + (await source.file.stat()).size
  if (lines === 0) return end
  let missing = lines
  // The newline that ends the last line does not begin another.
  let skipped = false
  for (let to = end; to > dropped; ) {
    const from = Math.max(dropped, to - CHUNK_BYTES)
    const buffer = Buffer.alloc(to - from)
    await source.file.read(buffer, 0, buffer.length, from - base)
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
