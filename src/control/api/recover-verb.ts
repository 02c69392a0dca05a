// What a person's `recover` comes to. It is the retry verb: it lifts a quarantine and makes a waiting attempt now. It never ends what
// serves unless that is said explicitly, and while an attempt is under way it joins that one.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { recoveryOf } from '../model/modes.ts'
import type { DesiredChange } from '../store/desired-fold.ts'

/** A start is on its way by itself. */
const UNDER_WAY: ReadonlySet<PhaseKind> = new Set(['pending', 'placed', 'preparing', 'starting', 'stopping'])
/** It runs, and has not proven itself. */
const ON_TRIAL: ReadonlySet<string> = new Set(['started', 'waiting_for_checks'])

/** null = joined: what is asked for is under way. */
export function decideRecover(now: InstanceRecord, force = false): Result<DesiredChange | null, Failure> {
  const { name, want, phase, observed } = now
  const refuse = (detail: string) => err(failure('wrong_state', detail, { state: phase.kind, want }))
  if (want !== 'running') return refuse(`${name} is wished ${want}, and what is wished so is not recovered; start it.`)
  if (recoveryOf(now) === 'off') return err(failure('recovery_off', `Recovery is off for ${name}.`, { state: phase.kind }))
  if (force) return ok({ verb: 'recover', recover: true })
  const unhealthy = observed?.health === 'unhealthy'
  if (UNDER_WAY.has(phase.kind) || (phase.kind === 'running' && ON_TRIAL.has(phase.reason) && !unhealthy)) return ok(null)
  if ((phase.kind === 'running' && !unhealthy) || phase.kind === 'paused')
    return refuse(
      `${name} ${phase.kind === 'paused' ? 'lives, and is paused' : 'runs, and nothing is wrong with it'}; with force it is replaced nevertheless (holdfast recover ${name} --force).`,
    )
  return ok({ verb: 'recover', recover: true })
}
