// The cluster directory and the socket directory. `cluster` appears by rename when initdb is complete and synced, so a half-made
// one is never mistaken for data, and data is never overwritten: an existing `cluster` that is not usable is refused.
import { execFile } from 'node:child_process'
import { chmod, lchown, lstat, mkdir, mkdtemp, open, readdir, readFile, realpath, rename, rm, statfs, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { errnoOf } from '../../base/errno.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Binaries } from './binaries.ts'
import type { Launcher } from './launcher.ts'
import { dirFailure, type Layout, SOCKET_NAME } from './layout.ts'

export const DATABASE_USER = 'holdfast'
/** Major version of the embedded binaries; a cluster of another one cannot be opened. */
const MAJOR = '18'
/** A fresh cluster, with its first segment of the log. */
const CLUSTER_BYTES = 64 * 2 ** 20
const INITDB_DEADLINE_MS = 120_000
/** sockaddr_un.sun_path holds 108 bytes with its NUL. */
const SOCKET_PATH_BYTES_MAX = 107

export async function ensureRoot(layout: Layout, launcher: Launcher): Promise<Result<void, Failure>> {
  try {
    await mkdir(layout.root, { recursive: true, mode: 0o700 })
    await chmod(layout.root, 0o700)
    await own(layout.root, launcher.ownerId)
    for (const name of await readdir(layout.root)) if (name.startsWith('new-')) await rm(path.join(layout.root, name), { recursive: true })
    return OK
  } catch (error) {
    return err(dirFailure('Cannot prepare the database', layout.root, error))
  }
}

/** Returns the real path of the cluster directory. */
export async function ensureCluster(
  layout: Layout,
  launcher: Launcher,
  binaries: Binaries,
  signal?: AbortSignal,
): Promise<Result<string, Failure>> {
  try {
    const version = await readFile(path.join(layout.cluster, 'PG_VERSION'), 'utf8').catch(absent)
    if (version === null && (await lstat(layout.cluster).catch(absent)) === null) {
      const made = await initialise(layout, launcher, binaries, signal)
      if (!made.ok) return made
    } else if (version?.trim() !== MAJOR) {
      const found = version === null ? 'no PG_VERSION file' : `PostgreSQL ${version.trim()}`
      const detail = `${layout.cluster} holds ${found}, not a cluster of PostgreSQL ${MAJOR}; it is left untouched. Restore it, or give another --data-dir.`
      return err(failure('data_dir_unusable', detail, { path: layout.cluster }))
    }
    await own(layout.cluster, launcher.ownerId)
    return ok(await realpath(layout.cluster))
  } catch (error) {
    return err(dirFailure('Cannot open the database', layout.cluster, error))
  }
}

async function initialise(
  layout: Layout,
  launcher: Launcher,
  binaries: Binaries,
  signal: AbortSignal | undefined,
): Promise<Result<void, Failure>> {
  const fresh = await mkdtemp(path.join(layout.root, 'new-'))
  await own(fresh, launcher.ownerId)
  const [command, args] = launcher.wrap(binaries.initdb, [
    '-D',
    fresh,
    '-U',
    DATABASE_USER,
    '--auth=trust',
    '--locale=C',
    '-E',
    'UTF8',
    '--no-instructions',
  ])
  // It tidies up after itself when it is asked to end, and not when it is killed.
  let giveUp = () => {}
  const said = await new Promise<string | null>((resolve) => {
    const running = execFile(
      command,
      args,
      { env: { ...binaries.env }, timeout: INITDB_DEADLINE_MS, killSignal: 'SIGKILL', cwd: '/' },
      (error, stdout, stderr) => resolve(error ? `${stderr || stdout || error.message}`.trim().split('\n').slice(-3).join(' ') : null),
    )
    giveUp = () => void running.kill('SIGTERM')
    if (signal?.aborted) giveUp()
    signal?.addEventListener('abort', giveUp, { once: true })
  })
  signal?.removeEventListener('abort', giveUp)
  if (said !== null) {
    await rm(fresh, { recursive: true, force: true, maxRetries: 5 })
    if (signal?.aborted) return err(failure('cancelled', 'The start of the database was given up.'))
    const { bavail, bsize } = await statfs(layout.root)
    const room = bavail * bsize
    // initdb has no exit code of its own for a full disk, and tidies up after itself: so what it would have needed is compared.
    if (room < CLUSTER_BYTES) {
      const detail = `initdb needs ${CLUSTER_BYTES} bytes in ${layout.root}; ${room} are free.`
      return err(failure('disk_full', detail, { path: layout.root, available: room, requested: CLUSTER_BYTES }))
    }
    return err(failure('store_unavailable', `initdb failed in ${layout.root}: ${said}`, { path: layout.root }))
  }
  await rename(fresh, layout.cluster)
  const dir = await open(layout.root)
  await dir.sync().finally(() => dir.close())
  return OK
}

/** The cluster of a root that once could use namespaces and now cannot (or the reverse) has to change hands. */
async function own(dir: string, ownerId: number): Promise<void> {
  const found = await lstat(dir)
  if (found.uid === ownerId) return
  if (found.isDirectory()) for (const name of await readdir(dir)) await own(path.join(dir, name), ownerId)
  // The directory itself last: interrupted half-way, the next start sees the old owner and begins again.
  await lchown(dir, ownerId, ownerId)
}

/** A directory for the socket, 0700: below the data directory when its path is short enough, else in the temporary directory. */
export async function ensureSocketDir(layout: Layout, launcher: Launcher): Promise<Result<string, Failure>> {
  try {
    if (Buffer.byteLength(path.join(layout.run, SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX) {
      await mkdir(layout.run, { recursive: true, mode: 0o700 })
      await own(layout.run, launcher.ownerId)
      return ok(layout.run)
    }
    // One recorded by a run that was killed is used again, so that kills do not fill the temporary directory.
    const recorded = await readFile(layout.socketRecord, 'utf8').catch(absent)
    if (recorded !== null && (await isPrivateDir(recorded, launcher.ownerId))) return ok(recorded)
    const made = await mkdtemp(path.join(os.tmpdir(), 'hf-pg-'))
    await own(made, launcher.ownerId)
    await writeFile(layout.socketRecord, made, { mode: 0o600 })
    return ok(made)
  } catch (error) {
    return err(dirFailure('Cannot make a directory for the socket', layout.run, error))
  }
}

/** Only what is recorded as made by us in the temporary directory is removed. */
export async function removeSocketDir(layout: Layout): Promise<void> {
  const recorded = await readFile(layout.socketRecord, 'utf8').catch(() => null)
  if (recorded === null || !path.basename(recorded).startsWith('hf-pg-')) return
  await rm(recorded, { recursive: true, force: true })
  await rm(layout.socketRecord, { force: true })
}

async function isPrivateDir(dir: string, ownerId: number): Promise<boolean> {
  const found = await lstat(dir).catch(() => null)
  return found?.isDirectory() === true && found.uid === ownerId && (found.mode & 0o777) === 0o700 && path.basename(dir).startsWith('hf-pg-')
}

function absent(error: unknown): null {
  if (errnoOf(error) === 'ENOENT') return null
  throw error
}
