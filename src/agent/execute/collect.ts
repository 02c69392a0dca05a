// Carries out one choice of garbage collection. No choices are left here: what is not as it was when it was chosen is left by the
// nonce, the digest or the name.
import { OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Driver } from '../drivers/driver.ts'
import type { GarbageTarget } from '../model/garbage.ts'
import { type EvidenceDeps, keepOutput } from './evidence.ts'
import { guard } from './execute.ts'
import type { KeptLogFiles } from './kept-logs.ts'

export interface CollectDeps {
  readonly evidence: EvidenceDeps
  readonly keptLogs: KeptLogFiles
  readonly drivers: ReadonlyMap<Runtime, Driver>
  readonly limits: {
    readonly collectGraceMs: number
    readonly stopMarginMs: number
    readonly removeDeadlineMs: number
    readonly imageDeadlineMs: number
  }
}

/** `stray`: nobody knows its instance, so its output goes where that of what is gone is kept. */
export async function collect(
  deps: CollectDeps,
  target: Exclude<GarbageTarget, { what: 'instance' }>,
  stray: boolean,
  signal: AbortSignal,
): Promise<Result<void, Failure>> {
  switch (target.what) {
    case 'object':
      return collectObject(deps, target, stray, signal)
    case 'logs':
      return deps.keptLogs.discard(target.id, target.incarnation)
    case 'evidence':
      return deps.evidence.files.drop(target.id)
    case 'image':
      return collectImage(deps, target, signal)
    default:
      return target satisfies never
  }
}

async function collectObject(
  deps: CollectDeps,
  target: Extract<GarbageTarget, { what: 'object' }>,
  stray: boolean,
  signal: AbortSignal,
): Promise<Result<void, Failure>> {
  const driver = deps.drivers.get(target.runtime)
  if (!driver) return missing(target.runtime)
  const { clock } = deps.evidence
  const { collectGraceMs: graceMs, stopMarginMs, removeDeadlineMs } = deps.limits
  const { id, incarnation, nonce } = target
  const stopped = await guard(clock, graceMs + stopMarginMs, 'stop_failed', signal, (inner) =>
    driver.stop({ id, incarnation, nonce }, { signal: 'SIGTERM', graceMs }, inner),
  )
  if (!stopped.ok) return stopped
  if (stray) await keepOutput(deps.evidence, driver, id, incarnation, signal)
  const removed = await guard(clock, removeDeadlineMs, 'stop_failed', signal, (inner) => driver.remove({ id, incarnation, nonce }, inner))
  return removed.ok && stray ? deps.keptLogs.discard(id, incarnation) : removed
}

async function collectImage(
  deps: CollectDeps,
  { runtime, image, imageId }: Extract<GarbageTarget, { what: 'image' }>,
  signal: AbortSignal,
): Promise<Result<void, Failure>> {
  const images = deps.drivers.get(runtime)?.images
  if (!images) return missing(runtime)
  const removed = await guard(deps.evidence.clock, deps.limits.imageDeadlineMs, 'runtime_unreachable', signal, (inner) =>
    images.remove(image, imageId, inner),
  )
  if (!removed.ok) return removed
  return removed.value ? OK : { ok: false, error: failure('wrong_state', `${image} is in use by now.`, { image }) }
}

const missing = (runtime: Runtime): Result<never, Failure> => ({
  ok: false,
  error: failure('runtime_unavailable', `This node has no ${runtime} runtime.`, { runtime }),
})
