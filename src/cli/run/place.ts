// The data directory as a place that one process owns: its lock, its endpoint file and the marker that `down` leaves.
// The agent's directory in it has a lock of its own, because `holdfast agent --state-dir` can name that directory too: two agents on one
// set of journals would each start what the other one runs.
import { rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Random } from '../../base/clock.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { errnoOf } from '../errno.ts'
import { endpointFile } from '../settings.ts'
import { fileFailure, prepareDataDir, writeAtomic } from './files.ts'
import { type Lock, lockDataDir, lockFile } from './lock.ts'

export interface Place {
  readonly dir: string
  readonly stateDir: string
  readonly logFile: string
  publish(url: string, pid: number): Promise<Result<void, Failure>>
  /** False: somebody removed or replaced the directory, and with it the lock that we hold. */
  present(): Promise<boolean>
  /** `holdfast down` asked for this end. */
  downWanted(): Promise<boolean>
  leave(): Promise<void>
}

/** Which of them run an agent in `agent/` of the directory they take; `agent` takes that directory itself. */
const AGENT_INSIDE = { up: true, down: true, server: false, agent: false } as const
type Taker = keyof typeof AGENT_INSIDE

export const agentStateDir = (dir: string): string => path.join(dir, 'agent')
export const downMarker = (dir: string): string => path.join(dir, 'down')

export async function takePlace(dir: string, verb: Taker, pid: number, random: Random): Promise<Result<Place, Failure>> {
  const prepared = await prepareDataDir(dir, random)
  if (!prepared.ok) return prepared
  const locked = await lockDataDir(dir, verb, pid, random)
  if (!locked.ok) return locked
  const lock: Lock = locked.value
  const inner = AGENT_INSIDE[verb] ? await lockStateDir(agentStateDir(dir), verb, pid, random) : ok(undefined)
  if (!inner.ok) {
    await lock.release()
    return inner
  }
  const release = async () => {
    await inner.value?.release()
    await lock.release()
  }
  const tidied = await removeNotes(dir)
  if (!tidied.ok) {
    await release()
    return tidied
  }
  const identity = await identityOf(lockFile(dir))
  return ok({
    dir,
    stateDir: agentStateDir(dir),
    logFile: path.join(dir, 'holdfast.log'),
    publish: async (url, holderPid) => {
      const written = await writeAtomic(endpointFile(dir), `${JSON.stringify({ url, pid: holderPid })}\n`, 0o644, random)
      return written.ok ? OK : written
    },
    present: async () => [identity, 'unknown'].includes(await identityOf(lockFile(dir))),
    downWanted: async () =>
      stat(downMarker(dir)).then(
        () => true,
        () => false,
      ),
    leave: async () => {
      // What stays of them is removed by whoever takes the place next; it must be free for that one.
      await removeNotes(dir)
      await release()
    },
  })
}

const identityOf = (file: string): Promise<string> =>
  stat(file).then(
    ({ dev, ino }) => `${dev} ${ino}`,
    // What cannot be asked is not therefore gone.
    (error: unknown) => (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR' ? 'gone' : 'unknown'),
  )

/** Of one that was killed they are about nobody who lives. */
async function removeNotes(dir: string): Promise<Result<void, Failure>> {
  for (const file of [endpointFile(dir), downMarker(dir)]) {
    try {
      await rm(file, { force: true })
    } catch (error) {
      return err(fileFailure(error, file))
    }
  }
  return OK
}

async function lockStateDir(dir: string, verb: Taker, pid: number, random: Random): Promise<Result<Lock, Failure>> {
  const prepared = await prepareDataDir(dir, random)
  return prepared.ok ? lockDataDir(dir, verb, pid, random) : prepared
}
