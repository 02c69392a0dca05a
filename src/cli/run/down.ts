// `holdfast down`: ends the workloads of a data directory, and then the `up` that serves it. A running `up` does it itself, told by a marker
// file and a signal; its pid is only signalled while pid, start time and boot id are those of the lock. Afterwards, and when no `up` runs,
// the agent's part is done here: what a crash left behind ends too. What should run stays written in the database.
import { stat, writeFile } from 'node:fs/promises'
import { durationText } from '../../base/duration-text.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Core } from '../core.ts'
import { errnoOf } from '../errno.ts'
import { EXIT } from '../exit.ts'
import type { Output } from '../output.ts'
import { dataDirToUse, findDataDir, tokenFile } from '../settings.ts'
import type { Outcome } from '../verb.ts'
import { fileFailure } from './files.ts'
import { type Holder, holderOf, lockFile } from './lock.ts'
import { openLogFile } from './log-file.ts'
import { makeParts, readConfig, startAgentPart } from './parts.ts'
import { downMarker, type Place, takePlace } from './place.ts'
import { runs } from './process-facts.ts'

export interface DownFlags {
  readonly dataDir: string | undefined
  readonly timeoutMs: number
}

const POLL_MS = 50

export async function runDown(core: Core, out: Output, flags: DownFlags): Promise<Outcome> {
  const dir = findDataDir(core, flags.dataDir)
  if (dir === undefined || !(await holdsPlatform(dir))) {
    const sought = dir ?? dataDirToUse(core, flags.dataDir)
    const what = dir === undefined ? `there is no data directory ${sought}` : `${sought} is no data directory of holdfast up`
    await out.value({ data: sought, stopped: false }, () => `nothing to stop: ${what}\n`)
    return ok(EXIT.ok)
  }
  const startedMs = core.clock.elapsedMs()
  const leftMs = () => Math.max(1000, flags.timeoutMs - (core.clock.elapsedMs() - startedMs))
  const holder = await holderOf(dir)
  if (holder?.verb === 'up') {
    const ended = await endUp(core, dir, holder, leftMs())
    if (!ended.ok) return ended
  }
  const place = await takePlace(dir, 'down', core.pid, core.random)
  if (!place.ok) return place
  try {
    const stopped = await stopHere(core, place.value, leftMs())
    if (!stopped.ok) return stopped
  } finally {
    await place.value.leave()
  }
  const what =
    holder?.verb === 'up'
      ? `stopped the workloads and holdfast up (process ${holder.pid})`
      : 'stopped the workloads; no holdfast up was running'
  await out.value(
    { data: dir, stopped: true, pid: holder?.pid ?? null },
    () => `${what}\n${out.next(`holdfast up starts them again; to forget them, delete ${dir}`)}`,
  )
  return ok(EXIT.ok)
}

/** What `up` leaves: its token, or the lock of one that was killed before it wrote that. Any other directory is none of our business. */
async function holdsPlatform(dir: string): Promise<boolean> {
  const isThere = (file: string) =>
    stat(file).then(
      () => true,
      () => false,
    )
  return (await isThere(tokenFile(dir))) || isThere(lockFile(dir))
}

async function endUp(core: Core, dir: string, holder: Holder, timeoutMs: number): Promise<Result<void, Failure>> {
  const marker = downMarker(dir)
  try {
    await writeFile(marker, `${core.pid}\n`, { mode: 0o600 })
  } catch (error) {
    return err(fileFailure(error, marker))
  }
  if (await runs(holder)) {
    try {
      process.kill(holder.pid, 'SIGTERM')
    } catch (error) {
      const code = errnoOf(error)
      if (code !== 'ESRCH')
        return err(failure('forbidden', `Process ${holder.pid} belongs to another user (${code}).`, { pid: holder.pid }, error))
    }
  }
  const startedMs = core.clock.elapsedMs()
  while (await runs(holder)) {
    if (core.clock.elapsedMs() - startedMs > timeoutMs)
      return err(
        failure(
          'wait_timeout',
          `holdfast up (process ${holder.pid}) has not ended after ${durationText(timeoutMs)}; see holdfast.log in ${dir}.`,
          {
            pid: holder.pid,
          },
        ),
      )
    await core.clock.sleep(POLL_MS)
  }
  return OK
}

/** The agent without a control plane: it takes over what it finds, and ends it. */
async function stopHere(core: Core, place: Place, timeoutMs: number): Promise<Result<void, Failure>> {
  const config = await readConfig(core, place.dir, {})
  if (!config.ok) return config
  const logFile = openLogFile(place.logFile)
  if (!logFile.ok) return logFile
  try {
    const parts = makeParts(core, config.value.config, 'down', logFile.value.write)
    const agent = await startAgentPart(parts, { stateDir: place.stateDir, controlUrl: null, token: '' })
    if (!agent.ok) return agent
    const stopped = await agent.value.stopWorkloads(timeoutMs)
    await agent.value.close()
    if (!stopped.ok) return stopped
    const { stopLeftoverDatabase } = await import('../../control/leftover.ts')
    const database = await stopLeftoverDatabase(place.dir, core.clock)
    return database.ok ? OK : database
  } finally {
    logFile.value.close()
  }
}
