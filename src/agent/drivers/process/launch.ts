// Starting one incarnation: folder, groups, keeper, and waiting for its word. On failure everything of it is taken away again.
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { durationText } from '../../../base/duration-text.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Wanted } from '../driver.ts'
import { type Cgroups, oomFile, removeGroups } from './cgroups.ts'
import { type Context, lookOrNull } from './context.ts'
import { errnoName, fileFailure, stepFailure } from './failures.ts'
import type { Forge } from './forge.ts'
import { NEVER_STARTED, type Sight } from './inspector.ts'
import { DEFAULT_PATH, type Job, pack } from './keeper.ts'
import { discard, type Run, type Want, writeWant } from './records.ts'
import { endNow } from './stop.ts'
import { resolveUser } from './users.ts'

const START_DEADLINE_MS = 30_000
const NONCE = /^[A-Za-z0-9_-]{1,64}$/

export async function launch(context: Context, run: Run, want: Wanted, signal: AbortSignal): Promise<Result<Sight, Failure>> {
  const supported = refuse(want)
  if (!supported.ok) return supported
  const forge = context.forge()
  if (forge === null)
    return err(failure('runtime_unavailable', 'There is no perl on this node, or it is no x64 or arm64 Linux.', { runtime: 'process' }))
  const identity = resolveUser(want.spec.security.user, process.getuid?.() ?? -1)
  if (!identity.ok) return identity
  const cgroups = context.cgroups()
  const groups = makeGroups(cgroups, `${run.id}-${run.incarnation}`, want)
  if (!groups.ok) return groups
  const env = {
    // The Node that runs us comes last: a workload written for Node needs none installed, and one of the machine's own wins.
    PATH: `${DEFAULT_PATH}:${dirname(process.execPath)}`,
    ...want.spec.env,
    ...want.platformEnv,
    HOLDFAST_INSTANCE_ID: run.id,
    HOLDFAST_INCARNATION: String(run.incarnation),
    HOLDFAST_NONCE: want.nonce,
  }
  const job: Job = { command: want.spec.command, env, cwd: want.spec.workingDir ?? '/', identity: identity.value, groups: groups.value }
  const oom = oomFile(groups.value)
  const packed = pack(job, { id: run.id, nonce: want.nonce, log_bytes_max: String(context.logBytesMax), ...(oom !== null && { oom }) })
  try {
    // The logs' folder first: the incarnation's own is then complete when it appears in a listing.
    mkdirSync(join(run.dir, 'logs'), { recursive: true, mode: 0o700 })
    writeWant(run, {
      nonce: want.nonce,
      addresses: addressesOf(want),
      memoryBytes: want.spec.memoryBytes,
      groups: [...groups.value],
      notes: notesOf(cgroups),
    })
  } catch (error) {
    await undo(context, run, groups.value)
    return err(fileFailure(error, run.dir))
  }
  context.tracker.track(run, true)
  const about = { command: want.spec.command[0] ?? '', user: want.spec.security.user, cwd: job.cwd }
  const outcome = await started(context, run, packed, about, forge, signal)
  if (outcome.ok) return outcome
  // What could not be ended keeps its files, so that the next listing finds it.
  const ended = await endNow(context, run)
  if (ended.ok) await undo(context, run, groups.value)
  return outcome
}

/** Hands it to the forge and waits for `started` or `failed`, for the keeper's own end, for the deadline. */
async function started(
  context: Context,
  run: Run,
  job: Readonly<Record<string, string>>,
  about: Parameters<typeof stepFailure>[2],
  forge: Forge,
  signal: AbortSignal,
): Promise<Result<Sight, Failure>> {
  const keeper: { gone: Failure | null } = { gone: null }
  const make = (again: boolean) =>
    forge.make(job, run.dir, ({ lost, failure: why }) => {
      const sight = lookOrNull(context, run)
      // Should the lost forge have made a keeper after all, the lock lets only one of the two begin.
      if (lost && again && sight?.kind === 'pending' && !sight.kept) return make(false)
      keeper.gone = why
      context.tracker.keeperEnded(run)
    })
  make(true)
  const deadlineMs = context.clock.elapsedMs() + START_DEADLINE_MS
  for (;;) {
    // Not being able to look for a moment is no reason to give up what is under way.
    const sight = lookOrNull(context, run)
    if (sight?.kind === 'live' || sight?.kind === 'ended') return ok(sight)
    if (sight?.kind === 'none' && sight.failed !== null && sight.failed !== NEVER_STARTED) {
      const [step = '', errno = '0'] = sight.failed.split(' ')
      return err(stepFailure(step, errnoName(Number(errno)), about))
    }
    if (keeper.gone) return err(keeper.gone)
    if (signal.aborted) return err(failure('cancelled', 'The start was given up.'))
    if (context.clock.elapsedMs() > deadlineMs)
      return err(failure('start_failed', `The keeper process did not answer within ${durationText(START_DEADLINE_MS)}.`))
    await context.tracker.next(run, 100, signal)
  }
}

async function undo(context: Context, run: Run, groups: readonly string[]): Promise<void> {
  context.tracker.untrack(run, false)
  context.inspector.forget(run.dir)
  removeGroups(groups)
  await discard(run)
}

function makeGroups(cgroups: Cgroups, name: string, want: Wanted): Result<readonly string[], Failure> {
  try {
    return ok(cgroups.create(name, want.spec))
  } catch (error) {
    return err(
      failure('start_failed', `Its control group could not be made: ${fileFailure(error, name).detail}`, { mode: cgroups.mode }, error),
    )
  }
}

/** What a process on the node itself cannot be given is refused, not ignored: it would run less confined than was asked for. */
function refuse(want: Wanted): Result<void, Failure> {
  const { privileged, capabilitiesAdd, capabilitiesDrop, readOnlyRoot } = want.spec.security
  const asked = [
    privileged && 'privileged',
    capabilitiesAdd.length > 0 && 'capabilities_add',
    capabilitiesDrop.length > 0 && 'capabilities_drop',
    readOnlyRoot && 'read_only_root',
  ].find(Boolean)
  if (asked)
    return err(
      failure('unsupported', `The process runtime cannot apply security.${asked}; use the docker runtime.`, {
        field: `security.${asked}`,
        runtime: 'process',
      }),
    )
  if (!want.spec.command[0]) return err(failure('invalid_command', 'The command is empty.'))
  const texts = [...want.spec.command, ...Object.values(want.spec.env), ...Object.values(want.platformEnv), want.spec.workingDir ?? '']
  // It would also begin another entry of the keeper's job.
  if (texts.some((text) => text.includes('\0'))) return err(failure('invalid_command', 'The command or its environment holds a NUL byte.'))
  if (!NONCE.test(want.nonce)) return err(failure('internal', 'The nonce is not plain text.'))
  return OK
}

const notesOf = (cgroups: Cgroups): string[] => (cgroups.mode === 'none' ? ['limits: not enforced here'] : [])

/** A process listens on the node itself: its own port is the node's. */
const addressesOf = (want: Wanted): Want['addresses'] =>
  want.spec.ports.map((port, index) => {
    const host = want.hostPorts[index] || port.host
    return { name: port.name, protocol: port.protocol, internal: port.internal || host, host: '127.0.0.1', port: host }
  })
