// What cloud-init needs of a guest. The docker driver gives both by the engine's API; nothing has to be installed inside.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { TarEntry, TarFile } from './tar.ts'

export interface GuestStat {
  readonly kind: 'file' | 'directory' | 'other'
  /** The path with every link on the way followed. */
  readonly path: string
  readonly sizeBytes: number
}

/** Works on a guest that does not run yet, so that keys and files are there before its first instruction. */
export interface GuestFiles {
  /** Null when nothing is there. */
  stat(path: string, signal: AbortSignal): Promise<Result<GuestStat | null, Failure>>
  /** Null when no regular file is there. */
  read(path: string, signal: AbortSignal): Promise<Result<TarFile | null, Failure>>
  /** Unpacks below a directory that exists; replaces files of the same path. */
  unpack(directory: string, entries: readonly TarEntry[], signal: AbortSignal): Promise<Result<void, Failure>>
}

export interface GuestCommand {
  readonly argv: readonly string[]
  readonly stdin: string | null
  readonly env: readonly string[]
  readonly timeoutMs: number
}

/** Runs as root. Any exit code is an answer; a failure means that it could not be run or did not end in time. */
export type GuestRun = (
  command: GuestCommand,
  signal: AbortSignal,
) => Promise<Result<{ readonly exitCode: number; readonly output: string }, Failure>>
