// Files that survive a crash at any instant: a reader finds the whole old content or the whole new one, never a mixture and never
// half a directory. One writer per path at a time; that is the caller's rule, and it keeps the temporary name fixed, so that a crash
// leaves at most one stray file, which the next write replaces.
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, rename, rm, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

/** Replaces `path` by `bytes`: durable when it returns, untouched when it fails. */
export async function writeAtomic(path: string, bytes: string | Uint8Array, mode = 0o600): Promise<Result<void, Failure>> {
  const temporary = `${path}.tmp`
  try {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants
    await withFile(await open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode), async (file) => {
      await file.writeFile(bytes)
      await file.sync()
    })
    await rename(temporary, path)
    await syncDir(dirname(path))
    return OK
  } catch (error) {
    // A full disk should at least get back what this attempt took; if even that fails, the next write truncates the file.
    await unlink(temporary).catch(() => {})
    return err(fileFailure(error, path))
  }
}

/** After this a rename, creation or removal in `dir` survives a power cut. */
export async function syncDir(dir: string): Promise<void> {
  await withFile(await open(dir, constants.O_RDONLY | constants.O_DIRECTORY), (handle) => handle.sync())
}

const REMOVED = '.removed'

/**
 * Removes a directory with everything in it; ok when there is none. It is renamed first, so that a crash half-way never leaves
 * something that looks like the directory; `sweepRemoved` finishes such a removal.
 */
export async function removeDir(path: string): Promise<Result<void, Failure>> {
  const doomed = `${path}${REMOVED}`
  try {
    await removeTree(doomed)
    await rename(path, doomed)
    await syncDir(dirname(path))
    await removeTree(doomed)
    return OK
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? OK : err(fileFailure(error, path))
  }
}

/** Finishes the removals below `root` that a crash interrupted. */
export async function sweepRemoved(root: string): Promise<Result<void, Failure>> {
  try {
    for (const name of await readdir(root)) if (name.endsWith(REMOVED)) await removeTree(join(root, name))
    return OK
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? OK : err(fileFailure(error, root))
  }
}

/** A workload that is just ending may still write its log there, hence the retries. */
const removeTree = (path: string) => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })

/** A failed file operation as a typed failure: `disk_full` for a full disk or quota, else `file_error` with the errno. */
export function fileFailure(error: unknown, path: string): Failure {
  const errno = errnoOf(error) ?? 'unknown'
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return failure('disk_full', `No room left to write ${path}.`, { path, errno }, error)
  return failure('file_error', `${path}: ${errno}.`, { path, errno }, error)
}

export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

export async function withFile<T>(file: FileHandle, use: (file: FileHandle) => Promise<T>): Promise<T> {
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}
