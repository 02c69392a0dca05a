// An append-only record of one instance that survives a crash at any instant.
//
// Promises: a record whose append returned ok is read back after any crash; one whose append failed or never returned is read back
// whole or not at all; order is kept. No file stays open between appends, so a journal needs no closing and a thousand of them cost
// nothing. A journal that grew too long keeps its newest lines, by atomic replacement.
import { closeSync, constants, openSync, readFileSync, write as writeTo } from 'node:fs'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { err, OK, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { errnoOf, fileFailure, syncDir, withFile, writeAtomic } from './files.ts'
import { decodeLine, encodeLine, scanLines } from './lines.ts'

export interface Journal {
  /** Durable when ok. Appends of one journal run one after the other, in the order they were asked for. */
  append(record: unknown): Promise<Result<void, Failure>>
}

export interface JournalLimits {
  /** Longer than this, and the file is compacted. */
  readonly compactBytes: number
  readonly keepLines: number
  /** Of those lines only the newest that fit in here are kept (one at least): a record with large user data is large in every line. */
  readonly keepBytes: number
}

const LIMITS: JournalLimits = { compactBytes: 256 * 1024, keepLines: 64, keepBytes: 2 ** 20 }

/** All valid records, oldest first; empty when there is no file. Throws what the file system throws. For the start of the agent. */
export function readJournalSync(path: string): readonly unknown[] {
  try {
    return scanLines(readFileSync(path)).lines.map(decodeLine)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

/** The directory of `path` must exist. Nothing is read or written before the first append. */
export function openJournal(path: string, limits: JournalLimits = LIMITS): Journal {
  let state: State | null = null
  let line: Promise<unknown> = Promise.resolve()

  const appendNow = async (text: string): Promise<Result<void, Failure>> => {
    try {
      state ??= await prepare(path)
      await write(path, state, text)
    } catch (error) {
      // What reached the disk is unknown now: the next append looks again and cuts off what is not whole.
      state = null
      return err(fileFailure(error, path))
    }
    if (state.sizeBytes > Math.max(limits.compactBytes, 2 * state.compactedBytes)) await compact(path, state, limits)
    return OK
  }

  return {
    append(record) {
      const text = encodeLine(record)
      const done = line.then(() => appendNow(text))
      line = done
      return done
    },
  }
}

interface State {
  sizeBytes: number
  /** Size after the last compaction: twice that, or a journal of large records would be rewritten at every append. */
  compactedBytes: number
}

/** Cuts off what a crash left after the last line feed, so that the next record begins a line; creates the file durably. */
async function prepare(path: string): Promise<State> {
  const existing = await readWhole(path)
  const { O_RDWR, O_CREAT } = constants
  return withFile(await open(path, O_RDWR | O_CREAT, 0o600), async (file) => {
    if (existing === null) {
      await syncDir(dirname(path))
      // The directory is often as new as the file.
      await syncDir(dirname(dirname(path)))
      return { sizeBytes: 0, compactedBytes: 0 }
    }
    const { wholeBytes } = scanLines(existing)
    if (wholeBytes < existing.length) await cut(file, wholeBytes)
    return { sizeBytes: wholeBytes, compactedBytes: 0 }
  })
}

async function readWhole(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

async function cut(file: FileHandle, bytes: number): Promise<void> {
  await file.truncate(bytes)
  await file.sync()
}

const writeSome = promisify(writeTo)

/**
 * O_DSYNC makes the write itself durable: one trip to the disk instead of two. No O_CREAT: a removed journal must not come back as a stump.
 *
 * Only the write leaves this thread. Opening and closing a file that `prepare` has just had open takes microseconds, and each trip to the
 * thread pool waits for a processor: when an engine keeps them all busy, as it does after each end of a container, that was most of an append.
 */
async function write(path: string, state: State, text: string): Promise<void> {
  const { O_WRONLY, O_APPEND, O_DSYNC } = constants
  const bytes = Buffer.from(text)
  const file = openSync(path, O_WRONLY | O_APPEND | O_DSYNC)
  try {
    for (let at = 0; at < bytes.length; ) at += (await writeSome(file, bytes, at, bytes.length - at)).bytesWritten
  } finally {
    closeSync(file)
  }
  state.sizeBytes += bytes.length
}

/** A compaction that fails loses nothing: the long file stays, and is tried again after it has grown by half of the limit. */
async function compact(path: string, state: State, limits: JournalLimits): Promise<void> {
  const existing = await readWhole(path).catch(() => null)
  const kept: string[] = []
  let keptBytes = 0
  for (const line of existing ? scanLines(existing).lines.slice(-limits.keepLines).reverse() : []) {
    const bytes = Buffer.byteLength(line)
    if (kept.length > 0 && keptBytes + bytes > limits.keepBytes) break
    kept.push(line)
    keptBytes += bytes
  }
  const replaced = kept.length > 0 && (await writeAtomic(path, kept.reverse().join(''))).ok
  if (replaced) state.sizeBytes = keptBytes
  state.compactedBytes = replaced ? keptBytes : (state.sizeBytes + limits.compactBytes / 2) / 2
}
