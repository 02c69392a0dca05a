// The files of one incarnation, `<state-dir>/instances/<id>/run/<incarnation>/`, and their formats:
//
//   want            the agent, before anything else: nonce, addresses, groups. Without it there is no incarnation here.
//   lock            the keeper, exclusively: who keeps it. Or the agent, to make sure that no keeper comes any more.
//   starting        the keeper: pids and start times; the workload is about to be executed
//   started         the same file after the workload has been executed
//   failed          the keeper: which step before the exec failed, and its errno
//   exit            the keeper, by rename: how the main process ended
//   removed         the agent: the object is gone, the logs stay as evidence
//   logs/{stdout,stderr}  appended by the workload itself; the keeper drops bytes at the beginning
//   logs/lost       the keeper: the absolute offset of the first byte kept, and of file offset 0, for each stream
//
// The log files have a folder of their own so that the watch on the incarnation's folder does not wake the agent for every line.
// Nothing here is fsynced: after a power loss every process is gone and a file that is missing means just that, and so does one that was
// written before this boot and is not whole. Of this boot it means nothing: what it was about may live.
import {
  closeSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { Address } from '../../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import { errnoOf, UnreadableRecord } from './failures.ts'
import { readBootTimeMs } from './proc.ts'

export const Want = z.object({
  nonce: z.string(),
  addresses: z.array(Address),
  memoryBytes: z.number(),
  /** Control groups of this incarnation, the first one for limits; empty where none can be made. */
  groups: z.array(z.string()),
  notes: z.array(z.string()),
})
export type Want = z.infer<typeof Want>

const Keeper = z.object({ keeperPid: z.number().int().min(2), keeperStartTime: z.string(), bootId: z.string(), jobFd: z.number().int() })
export type Keeper = z.infer<typeof Keeper>
/** What `claim` writes. */
const NoKeeper = z.strictObject({}).transform(() => null)

export const Started = Keeper.extend({ pid: z.number().int().min(2), startTime: z.string(), atMs: z.number() })
export type Started = z.infer<typeof Started>

export const ExitRecord = z.object({ code: z.number().nullable(), signal: z.number().nullable(), oom: z.boolean(), atMs: z.number() })
export type ExitRecord = z.infer<typeof ExitRecord>

/** Absolute offsets in the stream: bytes below `dropped` are gone; file offset 0 is byte `base`. */
export interface LostOfStream {
  readonly dropped: number
  readonly base: number
}
export interface Lost {
  readonly stdout: LostOfStream
  readonly stderr: LostOfStream
}

export interface Run {
  readonly id: InstanceId
  readonly incarnation: number
  readonly dir: string
}

export const instancesDir = (stateDir: string) => join(stateDir, 'instances')
export const runsDir = (stateDir: string, id: InstanceId) => join(stateDir, 'instances', id, 'run')
export const runOf = (stateDir: string, id: InstanceId, incarnation: number): Run => ({
  id,
  incarnation,
  dir: join(runsDir(stateDir, id), String(incarnation)),
})
export const logFile = (run: Run, stream: 'stdout' | 'stderr') => join(run.dir, 'logs', stream)

/** Incarnations that have a folder, oldest first. */
export function listRuns(stateDir: string, id: InstanceId): readonly Run[] {
  return namesIn(runsDir(stateDir, id))
    .filter((name) => /^[1-9][0-9]{0,14}$/.test(name))
    .map((name) => runOf(stateDir, id, Number(name)))
    .sort((one, other) => one.incarnation - other.incarnation)
}

/** Empty when the folder does not exist. */
export function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return []
    throw error
  }
}

/** Null when the file is not there. Throws `UnreadableRecord` when it is not what was written, unless that was before this boot. */
export function readRecord<T>(schema: z.ZodType<T>, path: string): T | null {
  return recordOf(schema, path, readText(path))
}

/** Null also while it is being written. */
function readUnfinished<T>(schema: z.ZodType<T>, path: string): T | null {
  const text = readText(path)
  return text === null || jsonOf(text) === undefined ? null : recordOf(schema, path, text)
}

function recordOf<T>(schema: z.ZodType<T>, path: string, text: string | null): T | null {
  if (text === null) return null
  const parsed = schema.safeParse(jsonOf(text))
  if (parsed.success) return parsed.data
  if (isOlderThanBoot(path)) return null
  throw new UnreadableRecord(path, parsed.error)
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The boot is known to the second. */
const BOOT_SLACK_MS = 1000

const isOlderThanBoot = (path: string): boolean => statSync(path).mtimeMs < readBootTimeMs() - BOOT_SLACK_MS

export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

export function writeWant(run: Run, want: Want): void {
  writeFileSync(join(run.dir, '.want'), JSON.stringify(want), { mode: 0o600 })
  renameSync(join(run.dir, '.want'), join(run.dir, 'want'))
}

export const markRemoved = (run: Run) => writeFileSync(join(run.dir, 'removed'), '', { mode: 0o600 })

/** Takes the place of a keeper that has not come: none will come any more. False when one is there already. */
export function claim(run: Run): boolean {
  const own = join(run.dir, '.lock.agent')
  writeFileSync(own, '{}\n', { mode: 0o600 })
  try {
    linkSync(own, join(run.dir, 'lock'))
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  } finally {
    unlinkSync(own)
  }
}

/**
 * Removes an incarnation of which nothing runs. The logs go first: a keeper that comes late and finds the lock just gone cannot open
 * them, and ends before it has started anything.
 */
export async function discard(run: Run): Promise<void> {
  await rm(join(run.dir, 'logs'), { recursive: true, force: true })
  await rm(run.dir, { recursive: true, force: true })
}

/** Bytes of all its files; what goes meanwhile counts nothing. */
export function weigh(run: Run): number {
  const paths = [
    ...namesIn(run.dir).map((name) => join(run.dir, name)),
    ...namesIn(join(run.dir, 'logs')).map((name) => join(run.dir, 'logs', name)),
  ]
  return paths.reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0)
}

/** Null when there is none, or when the agent has taken its place (`claim`). */
export const readKeeper = (run: Run): Keeper | null => readRecord(z.union([Keeper, NoKeeper]), join(run.dir, 'lock'))

/** Written by the keeper in place, before its workload's first instruction; an exec makes it `started` by a rename. */
export const readStarting = (run: Run): Started | null => readUnfinished(Started, join(run.dir, 'starting'))

/** The record that the keeper writes. */
const LOST_BYTES = 127
const LOST = /^(\d+) (\d+) (\d+) (\d+) *\n$/

/** How much of the logs the keeper has dropped. Kept open it can be read also when the incarnation is discarded, in its last state. */
export interface LostFile {
  read(): Lost
  close(): void
}

/** Reading throws for anything but its absence, which means that nothing was dropped. */
export function openLost(run: Run): LostFile {
  const buffer = Buffer.alloc(LOST_BYTES)
  let fd: number | null = null
  const readOnce = () => {
    // The keeper makes it a moment after the logs.
    fd ??= openForReading(join(run.dir, 'logs', 'lost'))
    return fd === null ? '' : buffer.toString('latin1', 0, readSync(fd, buffer, 0, LOST_BYTES, 0))
  }
  return {
    read() {
      let text = readOnce()
      // It is overwritten in place (a full disk must not stop the dropping), so a single read could see half of two records.
      for (let again = readOnce(); again !== text; again = readOnce()) text = again
      const match = LOST.exec(text)
      const at = (index: number) => Number(match?.[index] ?? 0)
      return { stdout: { dropped: at(1), base: at(2) }, stderr: { dropped: at(3), base: at(4) } }
    },
    close() {
      if (fd !== null) closeSync(fd)
    },
  }
}

function openForReading(path: string): number | null {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}
