// One function per action kind; no choices left. Every call of a driver has a deadline and ends in a typed outcome.
import type { Clock } from '../../base/clock.ts'
import { DeadlineError, withDeadline } from '../../base/deadline.ts'
import { durationText } from '../../base/duration-text.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import type { Semaphore } from '../../base/semaphore.ts'
import { type ErrorCode, type Failure, failure } from '../../contracts/errors.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Driver, Seen, Target, Wanted } from '../drivers/driver.ts'
import type { Action, ObjectRef } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'
import type { Ledger } from './ledger.ts'
import type { Ports } from './ports.ts'

export interface ExecuteLimits {
  readonly prepareDeadlineMs: number
  readonly startDeadlineMs: number
  readonly stopGraceMsMax: number
  readonly stopMarginMs: number
  readonly removeDeadlineMs: number
  readonly pauseDeadlineMs: number
}

export interface ExecuteDeps {
  readonly clock: Clock
  readonly limits: ExecuteLimits
  readonly drivers: ReadonlyMap<Runtime, Driver>
  readonly ledger: Ledger
  readonly ports: Ports
  /** One line per runtime: starts that hang in one engine hold up no recovery in another. */
  readonly starts: ReadonlyMap<Runtime, Semaphore>
  readonly nodeId: string
  /** Told before everything that is kept of a deleted instance goes. Never fails. */
  readonly beforeForget?: (driver: Driver, record: InstanceRecord, signal: AbortSignal) => Promise<void>
}

/** `seen`: the driver's own word on what now exists, so that the caller need not ask again. */
export interface Done {
  readonly hostPorts?: readonly number[]
  readonly seen?: Seen
}

export function targetOf(record: InstanceRecord, object?: ObjectRef): Target {
  return { id: record.desired.id, incarnation: object?.incarnation ?? record.incarnation, nonce: object?.nonce ?? record.nonce }
}

export function wantedOf(record: InstanceRecord, nodeId: string): Wanted {
  const { desired, hostPorts } = record
  const chosen = desired.spec.ports.findIndex((port) => port.internal === 0)
  const first = chosen >= 0 ? hostPorts[chosen] : (desired.spec.ports[0]?.internal ?? undefined)
  return {
    ...targetOf(record),
    name: desired.name,
    spec: desired.spec,
    labels: desired.labels,
    hostPorts,
    platformEnv: {
      HOLDFAST_INSTANCE_NAME: desired.name,
      HOLDFAST_NODE_ID: nodeId,
      ...(first !== undefined && !('PORT' in desired.spec.env) && { PORT: String(first) }),
      ...Object.fromEntries(
        desired.spec.ports.map((port, index) => [
          `PORT_${port.name.toUpperCase().replaceAll('-', '_')}`,
          String(port.internal || hostPorts[index] || ''),
        ]),
      ),
    },
  }
}

/** Runs one action to its end. Never throws for what a runtime or disk may do. */
export async function execute(
  deps: ExecuteDeps,
  record: InstanceRecord,
  action: Action,
  signal: AbortSignal,
): Promise<Result<Done, Failure>> {
  const driver = deps.drivers.get(record.desired.spec.runtime)
  if (!driver)
    return err(
      failure('runtime_unavailable', `This node has no ${record.desired.spec.runtime} runtime.`, { runtime: record.desired.spec.runtime }),
    )
  const bounded = <T>(deadlineMs: number, timeout: ErrorCode, work: (inner: AbortSignal) => Promise<Result<T, Failure>>) =>
    guard(deps.clock, deadlineMs, timeout, signal, work)
  const { limits } = deps
  switch (action.kind) {
    case 'prepare':
      return prepare(deps, driver, record, action.vacant, signal)
    case 'start': {
      const started = await runStart(deps, driver, record, signal)
      return started.ok ? ok({ seen: started.value }) : started
    }
    case 'stop':
      return each(action.objects, (object) => {
        const { stop } = record.desired.spec
        const graceMs = Math.min(stop.graceMs, limits.stopGraceMsMax)
        return bounded(graceMs + limits.stopMarginMs, 'stop_failed', (inner) =>
          driver.stop(targetOf(record, object), { signal: stop.signal, graceMs }, inner),
        )
      })
    case 'remove':
      return each(action.objects, (object) =>
        bounded(limits.removeDeadlineMs, 'stop_failed', (inner) => driver.remove(targetOf(record, object), inner)),
      )
    case 'forget':
      await deps.beforeForget?.(driver, record, signal)
      return bounded(limits.removeDeadlineMs, 'stop_failed', () => driver.forget(action.id)).then(asDone)
    case 'pause':
      return bounded(limits.pauseDeadlineMs, 'runtime_unreachable', (inner) => driver.pause(targetOf(record), inner)).then(asDone)
    case 'resume':
      return bounded(limits.pauseDeadlineMs, 'runtime_unreachable', (inner) => driver.resume(targetOf(record), inner)).then(asDone)
    default:
      return action satisfies never
  }
}

const asDone = (result: Result<unknown, Failure>): Result<Done, Failure> => (result.ok ? ok({}) : result)

async function each(
  objects: readonly ObjectRef[],
  run: (object: ObjectRef) => Promise<Result<unknown, Failure>>,
): Promise<Result<Done, Failure>> {
  const results = await Promise.all(objects.map(run))
  return asDone(results.find((result) => !result.ok) ?? OK)
}

/** Admission, ports, image: everything that can refuse before anything runs. */
async function prepare(
  deps: ExecuteDeps,
  driver: Driver,
  record: InstanceRecord,
  vacant: boolean,
  signal: AbortSignal,
): Promise<Result<Done, Failure>> {
  const { desired } = record
  const { memoryBytes, cpuMillis } = desired.spec
  const admitted = deps.ledger.take(desired.id, { memoryBytes, cpuMillis })
  if (!admitted.ok) return admitted
  const ports = await deps.ports.resolve(desired.id, desired.spec, { held: record.hostPorts, vacant })
  if (!ports.ok) return ports
  const want = wantedOf({ ...record, hostPorts: [...ports.value] }, deps.nodeId)
  const prepared = await guard(deps.clock, deps.limits.prepareDeadlineMs, 'image_pull_failed', signal, (inner) =>
    driver.prepare(want, inner),
  )
  return prepared.ok ? ok({ hostPorts: ports.value }) : prepared
}

async function runStart(deps: ExecuteDeps, driver: Driver, record: InstanceRecord, signal: AbortSignal): Promise<Result<Seen, Failure>> {
  const start = () =>
    guard(deps.clock, deps.limits.startDeadlineMs, 'start_timeout', signal, (inner) => driver.start(wantedOf(record, deps.nodeId), inner))
  const line = deps.starts.get(record.desired.spec.runtime)
  try {
    // Time in the line is not start time: the deadline begins inside.
    return await (line ? line.run(signal, start) : start())
  } catch (error) {
    if (signal.aborted) return err(failure('cancelled', 'A newer wish replaced the start.', {}, error))
    throw error
  }
}

/** Deadline and cancellation as typed failures; anything else a driver throws is a bug and passes through. */
export async function guard<T>(
  clock: Clock,
  deadlineMs: number,
  timeout: ErrorCode,
  signal: AbortSignal,
  work: (inner: AbortSignal) => Promise<Result<T, Failure>>,
): Promise<Result<T, Failure>> {
  let timedOut = false
  try {
    const result = await withDeadline(clock, deadlineMs, signal, (inner) => {
      inner.addEventListener('abort', () => {
        timedOut = inner.reason instanceof DeadlineError
      })
      return work(inner)
    })
    if (result.ok) return result
    if (signal.aborted) return err(failure('cancelled', 'A newer wish replaced it.', {}, result.error))
    return timedOut
      ? err(
          failure(timeout, `No answer within ${durationText(deadlineMs)}: ${result.error.detail}`, result.error.fields ?? {}, result.error),
        )
      : result
  } catch (error) {
    if (signal.aborted) return err(failure('cancelled', 'A newer wish replaced it.', {}, error))
    if (error instanceof DeadlineError || timedOut) return err(failure(timeout, `No answer within ${durationText(deadlineMs)}.`, {}, error))
    throw error
  }
}
