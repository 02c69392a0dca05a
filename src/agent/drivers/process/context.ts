// What the parts of the process driver share.
import type { Clock } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Target } from '../driver.ts'
import type { Cgroups } from './cgroups.ts'
import { errnoOf } from './failures.ts'
import type { Forge } from './forge.ts'
import type { Inspector, Sight } from './inspector.ts'
import { claim, type Run, runOf } from './records.ts'
import type { Tracker } from './tracker.ts'

export interface Context {
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Logger
  readonly inspector: Inspector
  readonly tracker: Tracker
  /** Null when this machine has no Perl. */
  perl(): string | null
  /** Undefined when the keeper does not know this architecture. */
  readonly arch: string | undefined
  cgroups(): Cgroups
  /** Null where no keeper can run. */
  forge(): Forge | null
  readonly logBytesMax: number
  /** Folders of incarnations that this driver is starting right now. */
  readonly starting: ReadonlySet<string>
}

export type Live = Extract<Sight, { kind: 'live' }>

const UNCLAIMED_MS = 1000
const KEEPER_MS = 5000

/** Looks, and waits a little for a keeper that is on its way. One that never came is kept from coming later. */
export async function settle(context: Context, run: Run, signal: AbortSignal): Promise<Sight> {
  const { clock, inspector, tracker } = context
  const begunMs = clock.elapsedMs()
  for (;;) {
    const sight = inspector.look(run)
    // Our own start in progress may take long on a busy machine, and nobody else may decide that it never comes.
    if (sight.kind !== 'pending' || signal.aborted || context.starting.has(run.dir)) return sight
    const waitedMs = clock.elapsedMs() - begunMs
    if (!sight.kept && waitedMs > UNCLAIMED_MS) claim(run)
    else if (waitedMs > KEEPER_MS) return sight
    await tracker.next(run, 10, signal)
  }
}

/** For those who cannot fail: null when its files do not tell. */
export function lookOrNull({ inspector }: Pick<Context, 'inspector'>, run: Run): Sight | null {
  try {
    return inspector.look(run)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/** The living process of the target, if it is the target's. */
export async function requireLive(context: Context, target: Target, signal: AbortSignal): Promise<Result<Live, Failure>> {
  const sight = await settle(context, runOf(context.stateDir, target.id, target.incarnation), signal)
  if (signal.aborted) return err(CANCELLED)
  if (sight.kind !== 'none' && sight.want.nonce !== target.nonce)
    return err(failure('process_mismatch', `Incarnation ${target.incarnation} carries another nonce.`))
  if (sight.kind !== 'live') return err(failure('wrong_state', `Incarnation ${target.incarnation} does not run.`))
  if (!sight.matches)
    return err(
      failure('process_mismatch', `Process ${sight.started.pid} is not the one this incarnation started.`, { pid: sight.started.pid }),
    )
  return ok(sight)
}

export const CANCELLED: Failure = failure('cancelled', 'It was given up before it ended.')
