// One holder per data directory. The lock is a file that names its holder (pid, start time, boot id); it appears complete or not at all,
// because it is written aside and then linked into place, which the kernel refuses when the name exists.
//
// A holder that no longer runs left a stale lock. Replacing it must be safe against others who found it stale too, so each stale lock
// has exactly one successor file, named after its nonce: whoever links that one may replace the lock, after making sure that it is still
// the stale one (if not, somebody finished the same work earlier and everything starts again). A successor whose owner died in between
// is a stale lock itself and has a successor of its own.
//
// Held by the running process until `release` or its death. Never steals from a live process; never waits.
import { link, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Random } from '../../base/clock.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { errnoOf } from '../errno.ts'
import { fileFailure } from './files.ts'
import { type ProcessName, processOf, runs } from './process-facts.ts'

export interface Lock {
  readonly holder: Holder
  release(): Promise<void>
}

export interface Holder extends ProcessName {
  readonly nonce: string
  /** Of the command that holds it, such as `up`. */
  readonly verb: string
}

const LOCK_FILE = 'up.lock'
export const lockFile = (dir: string): string => path.join(dir, LOCK_FILE)
const ROUNDS_MAX = 64
const DEPTH_MAX = 8

export async function lockDataDir(dir: string, verb: string, pid: number, random: Random): Promise<Result<Lock, Failure>> {
  const self = await processOf(pid)
  if (self === undefined) return err(failure('internal', 'Cannot read /proc: Holdfast needs Linux with /proc mounted.'))
  const holder: Holder = { ...self, nonce: random.text(20), verb }
  const file = lockFile(dir)
  const mine = path.join(dir, `${LOCK_FILE}.mine-${holder.nonce}`)
  try {
    await writeFile(mine, JSON.stringify(holder), { mode: 0o600, flag: 'wx' })
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const other = await claim(file, mine, DEPTH_MAX)
      if (other === 'again') continue
      if (other !== 'won') return err(inUse(dir, other))
      return ok({ holder, release: () => release(file, holder) })
    }
    return err(failure('data_dir_in_use', `Could not lock ${dir}: too many others try at once.`, { path: dir }))
  } catch (error) {
    return err(fileFailure(error, file))
  } finally {
    await rm(mine, { force: true }).catch(() => undefined)
  }
}

/** Who holds the data directory now; undefined when nobody that lives does. */
export async function holderOf(dir: string): Promise<Holder | undefined> {
  const holder = await readHolder(lockFile(dir))
  return holder !== undefined && (await runs(holder)) ? holder : undefined
}

/** Takes `file` for the holder whose record is in `mine`; the live holder when there is one. */
async function claim(file: string, mine: string, depth: number): Promise<'won' | 'again' | Holder> {
  if (await linked(mine, file)) return 'won'
  const holder = await readHolder(file)
  if (holder === undefined) return 'again'
  if (await runs(holder)) return holder
  if (depth === 0) return 'again'
  const successor = `${file}.${holder.nonce.slice(0, 8)}`
  const claimed = await claim(successor, mine, depth - 1)
  if (claimed !== 'won') return claimed
  const now = await readHolder(file)
  if (now?.nonce !== holder.nonce) {
    await rm(successor, { force: true })
    return 'again'
  }
  await rename(successor, file)
  return 'won'
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
}

async function readHolder(file: string): Promise<Holder | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  return parseHolder(text) ?? { pid: -1, startTime: '', bootId: '', nonce: 'unreadable', verb: '' }
}

/** A lock that is no record (a disk that filled up long ago, an editor) names nobody who lives. */
function parseHolder(text: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const record: Readonly<Record<string, unknown>> = { ...value }
    const { pid, startTime, bootId, nonce, verb } = record
    if (typeof pid !== 'number' || typeof startTime !== 'string' || typeof bootId !== 'string') return undefined
    return typeof nonce === 'string' && /^[0-9a-z]{20}$/.test(nonce) && typeof verb === 'string'
      ? { pid, startTime, bootId, nonce, verb }
      : undefined
  } catch {
    return undefined
  }
}

async function release(file: string, holder: Holder): Promise<void> {
  const now = await readHolder(file).catch(() => undefined)
  // While we live nobody takes it from us, so what we read here is what we remove.
  if (now?.nonce === holder.nonce) await unlink(file).catch(() => undefined)
}

const inUse = (dir: string, holder: Holder): Failure =>
  failure('data_dir_in_use', `holdfast ${holder.verb} already runs on ${dir} as process ${holder.pid}.`, { path: dir, pid: holder.pid })
