// Small files of the data directory, replaced atomically: a reader sees the old one or the new one, never half of one.
import { mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Random } from '../../base/clock.ts'
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { errnoOf } from '../errno.ts'

export async function writeAtomic(file: string, text: string, mode: number, random: Random): Promise<Result<void, Failure>> {
  const temporary = `${file}.${random.text(8)}.tmp`
  try {
    // `wx`: never through a link that somebody else put there.
    const handle = await open(temporary, 'wx', mode)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
    return OK
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    return err(fileFailure(error, file))
  }
}

/** Creates the data directory (owner only) and proves that it can be written. */
export async function prepareDataDir(dir: string, random: Random): Promise<Result<void, Failure>> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    return err(unusable(dir, await causeOf(dir, error)))
  }
  const probe = path.join(dir, `.probe-${random.text(8)}`)
  const written = await writeAtomic(probe, '', 0o600, random)
  if (!written.ok) return written.error.code === 'disk_full' ? written : err(unusable(dir, written.error.cause))
  await rm(probe, { force: true })
  return OK
}

/** Where a recursive mkdir meets a read-only file system, Node says ENOENT; the plain call below what exists says what it is. */
async function causeOf(dir: string, error: unknown): Promise<unknown> {
  if (errnoOf(error) !== 'ENOENT') return error
  for (let at = dir; at !== path.dirname(at); at = path.dirname(at)) {
    try {
      await mkdir(at, { mode: 0o700 })
      return error
    } catch (plain) {
      if (errnoOf(plain) !== 'ENOENT') return errnoOf(plain) === 'EEXIST' ? error : plain
    }
  }
  return error
}

function unusable(dir: string, error: unknown): Failure {
  const why: Readonly<Record<string, string>> = {
    EACCES: 'this user may not write there',
    EPERM: 'this user may not write there',
    EROFS: 'its file system is read-only',
    ENOTDIR: 'a part of that path is not a directory',
    EEXIST: 'it exists and is not a directory',
    ENOENT: 'it is gone, or a link that leads nowhere',
  }
  const code = errnoOf(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') return fileFailure(error, dir)
  return failure('data_dir_unusable', `Cannot use the data directory ${dir}: ${why[code] ?? code}.`, { path: dir, error: code }, error)
}

export function fileFailure(error: unknown, file: string): Failure {
  const code = errnoOf(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') return failure('disk_full', `No space left to write ${file}.`, { path: file }, error)
  return failure('file_error', `Cannot write ${file} (${code}).`, { path: file, error: code }, error)
}
