// Where the embedded server keeps its things below the data directory, and how its foreign errors become ours.
import path from 'node:path'
import { errnoOf } from '../../base/errno.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

export interface Layout {
  /** Everything of ours, 0700. */
  readonly root: string
  /** PGDATA. It exists only complete: initdb works elsewhere and the result is renamed to this. */
  readonly cluster: string
  /** The `.so` links that the package's install script would have made. */
  readonly lib: string
  /** Default place of the socket. */
  readonly run: string
  /** Names the socket directory outside of the data directory, when there is one. */
  readonly socketRecord: string
}

export function layoutOf(dataDir: string): Layout {
  const root = path.join(path.resolve(dataDir), 'postgres')
  return {
    root,
    cluster: path.join(root, 'cluster'),
    lib: path.join(root, 'lib'),
    run: path.join(root, 'run'),
    socketRecord: path.join(root, 'socket-dir'),
  }
}

export const SOCKET_NAME = '.s.PGSQL.5432'

/** A file system error met below the data directory. */
export function dirFailure(what: string, where: string, error: unknown): Failure {
  const errno = errnoOf(error)
  const fields = { path: where, ...(errno !== undefined && { errno }) }
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return failure('disk_full', `${what} in ${where}: no space left.`, fields, error)
  const reason = error instanceof Error ? error.message : String(error)
  return failure('data_dir_unusable', `${what} in ${where}: ${reason}.`, fields, error)
}
