// The log file of `up`: appended to, never more than twice `bytesMax` on disk. When it is full it becomes `.1`, replacing the one before.
// Writing is synchronous, so that the last words before a crash are there; a full disk costs lines, never the platform.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs'
import { err, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { fileFailure } from './files.ts'

export const LOG_BYTES_MAX = 64 * 2 ** 20

export interface LogFile {
  readonly write: (line: string) => void
  /** Lines that could not be written. */
  readonly lost: () => number
  close(): void
}

/** `also` gets each line too: standard error with --log-stderr. */
export function openLogFile(file: string, bytesMax = LOG_BYTES_MAX, also?: (line: string) => void): Result<LogFile, Failure> {
  // Null while there is none: a number once closed may by now name somebody else's file or connection.
  let handle: number | null = null
  let bytes = 0
  let closed = false
  let lost = 0
  const open = (): number => {
    handle = openSync(file, 'a', 0o600)
    bytes = fstatSync(handle).size
    return handle
  }
  const release = () => {
    const old = handle
    handle = null
    if (old !== null) closeSync(old)
  }
  const rotate = (): number => {
    release()
    renameSync(file, `${file}.1`)
    return open()
  }
  try {
    open()
  } catch (error) {
    return err(fileFailure(error, file))
  }
  return ok({
    write: (line) => {
      also?.(line)
      try {
        if (closed) throw new Error('the log is closed')
        const present = handle ?? open()
        const full = bytes > 0 && bytes + Buffer.byteLength(line) > bytesMax
        bytes += writeSync(full ? rotate() : present, line)
      } catch {
        lost += 1
      }
    },
    lost: () => lost,
    close: () => {
      closed = true
      release()
    },
  })
}
