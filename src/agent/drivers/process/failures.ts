// Foreign errors of this driver (errno) to typed failures.
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { type Failure, failure } from '../../../contracts/errors.ts'

/** The errno name of a Node error, such as ENOENT. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** A file of ours that is there and is not what was written: an older format, a bad disk. Nothing follows from it, above all no absence. */
export class UnreadableRecord extends Error {
  readonly code = 'EBADMSG'
  readonly path: string

  constructor(path: string, cause?: unknown) {
    super(`${path} is not what was written there.`, { cause })
    this.path = path
  }
}

/** What runs beyond a bad record is not known, so the remedy is somebody's who can look. */
const unreadable = ({ message, path }: UnreadableRecord): Failure =>
  failure('file_error', `${message} End what may still run of it (HOLDFAST_INSTANCE_ID in its environment), then delete its folder.`, {
    path,
  })

/** `what` when the error names no path of its own. */
export function fileFailure(error: unknown, what: string): Failure {
  if (error instanceof UnreadableRecord) return unreadable(error)
  return writeFailure(errnoOf(error) ?? 'unknown error', what, error)
}

function writeFailure(errno: string, what: string, cause?: unknown): Failure {
  const full = errno === 'ENOSPC' || errno === 'EDQUOT'
  return failure(full ? 'disk_full' : 'file_error', `${what}: ${errno}.`, { errno, path: what }, cause)
}

/** A keeper ended before the start, with this errno: the machine is short of processes, or its folder cannot be written. */
export function keeperFailure(errno: string, dir: string): Failure {
  if (PASSING.has(errno)) return failure('start_failed', `Its keeper could not be made: ${errno}.`, { errno })
  return writeFailure(errno, dir)
}

export const errnoName = (errno: number): string => (errno > 0 ? getSystemErrorName(-errno) : 'unknown error')

/** The keeper could not be spawned. */
export function spawnFailure(error: unknown, perl: string): Failure {
  const errno = errnoOf(error) ?? 'unknown error'
  if (errno === 'E2BIG' || errno === 'ERR_INVALID_ARG_VALUE')
    return failure('invalid_command', `The command and its environment are too large or hold a NUL byte: ${errno}.`, { errno }, error)
  if (errno === 'ENOENT' || errno === 'EACCES')
    return failure('runtime_unavailable', `${perl} cannot be run: ${errno}.`, { errno, runtime: 'process' }, error)
  return failure('start_failed', `The keeper process could not be made: ${errno}.`, { errno }, error)
}

const MISSING = new Set(['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'])
const PASSING = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE', 'ETXTBSY', 'EINTR', 'EIO'])

export const isPassing = (errno: string): boolean => PASSING.has(errno)

/** A step of the child between fork and exec failed; `step` and the errno come from the keeper. */
export function stepFailure(
  step: string,
  errno: string,
  about: { readonly command: string; readonly user: string | null; readonly cwd: string },
): Failure {
  const fields = { errno, step }
  if (step === 'exec' && MISSING.has(errno)) {
    const why = errno === 'EACCES' ? 'is not executable' : 'does not exist (neither it nor, for a script, its interpreter may be missing)'
    return failure('command_not_found', `${JSON.stringify(about.command)} ${why}: ${errno}.`, { ...fields, command: about.command })
  }
  if (step === 'limits') return failure('start_failed', `The process could not join its control group: ${errno}.`, fields)
  if (PASSING.has(errno) || step === 'streams')
    return failure('start_failed', `The process could not be started (${step}): ${errno}.`, fields)
  if (step === 'working_dir')
    return failure('invalid_command', `The working directory ${JSON.stringify(about.cwd)} cannot be entered: ${errno}.`, fields)
  if (step === 'user') return failure('invalid_command', `The user ${JSON.stringify(about.user)} cannot be taken on: ${errno}.`, fields)
  const hint = errno === 'ENOEXEC' ? ' It is no program for this machine and has no #! line.' : ''
  return failure('invalid_command', `${JSON.stringify(about.command)} could not be executed: ${errno}.${hint}`, {
    ...fields,
    command: about.command,
  })
}

const NAMES = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]))
// Two names share number 6 and 29; the first of each pair is the usual one.
NAMES.set(6, 'SIGABRT').set(29, 'SIGIO')

/** SIGKILL for 9; real-time signals have only a number. */
export const signalName = (number: number): string => NAMES.get(number) ?? `SIG${number}`
