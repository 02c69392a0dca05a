// Waiting for an instance. `judge` decides from one answer of the API; `awaitState` asks until that is decided or the time is up.
// Timing out says nothing about the operation itself, which goes on; that is why it has an exit code of its own.
import { err, ok, type Result } from '../base/result.ts'
import type { Client } from '../client/client.ts'
import { type ErrorCode, type Failure, failure } from '../contracts/errors.ts'
import type { InstanceView } from '../contracts/views.ts'
import type { Core } from './core.ts'
import { shortSpan } from './render/human.ts'
import { errorText } from './render/instance.ts'

export const AWAITED = [
  'running',
  'healthy',
  'stopped',
  'paused',
  'completed',
  'deleted',
  'failed',
  'quarantined',
  'crash_looping',
  'degraded',
] as const
export type Awaited = (typeof AWAITED)[number]

/** What there is to wait for. */
export type Prospect = 'reached' | 'waiting' | 'never'

export interface Standard {
  /** An older incarnation proves nothing yet, as after a restart. */
  readonly afterIncarnation?: number
  /** A crash loop is waited through: the next attempt may be the good one. Whoever has just started something wants to hear of it instead. */
  readonly patient?: boolean
  /** `running` is a start that has proved itself (docs/models/recovery.md: verified), not one that may end in the next moment. */
  readonly proven?: boolean
}

/** Running, and its proof of life is still to come. */
const UNPROVEN: ReadonlySet<string> = new Set(['started', 'waiting_for_checks'])

export function judge(
  instance: InstanceView,
  awaited: Awaited,
  { afterIncarnation = -1, patient = false, proven = false }: Standard = {},
): Prospect {
  const { state, health } = instance
  if (state === awaited && awaited !== 'running') return 'reached'
  // What it says of itself is still about an older wish.
  if (instance.desired.observed_generation < instance.desired.generation) return 'waiting'
  const current = instance.incarnation > afterIncarnation
  if (proven && state === 'running' && awaited === 'running' && UNPROVEN.has(instance.reason)) return 'waiting'
  if (current && reached(state, health.status, awaited)) return 'reached'
  const hopeless = !patient && state === 'crash_looping' && (awaited === 'running' || awaited === 'healthy')
  return hopeless || isOver(instance, awaited) ? 'never' : 'waiting'
}

function reached(state: string, health: string, awaited: Awaited): boolean {
  switch (awaited) {
    // One that ran and ended well did run.
    case 'running':
      return state === 'running' || state === 'completed'
    case 'healthy':
      return state === 'running' && health === 'healthy'
    case 'stopped':
      return state === 'stopped' || state === 'completed' || state === 'deleted'
    default:
      return state === awaited
  }
}

/** States that lead nowhere by themselves. A lost node is still being worked on. */
function isOver(instance: InstanceView, awaited: Awaited): boolean {
  const { state } = instance
  switch (state) {
    case 'deleted':
    case 'completed':
    case 'quarantined':
      return true
    // The control plane tries again what may work later; a one-shot that ended badly, and what can never work, it leaves alone.
    case 'failed':
      return (
        awaited === 'stopped' || instance.reason === 'exited_error' || instance.last_error === null || instance.last_error.retry === 'never'
      )
    case 'stopped':
      return instance.desired.state !== 'running' || awaited !== 'running'
    default:
      return false
  }
}

/** State and error, or the reason where there is no error. */
const tell = ({ state, reason, last_error: error }: InstanceView): string =>
  error === null ? `${state}, ${reason}` : `${state}${reason === error.code ? '' : `, ${reason}`}; ${errorText(error)}`

const POLL_MS = { first: 50, factor: 1.5, max: 1000 }

/** The control plane is away; it says nothing about what is waited for. */
export const PASSING: ReadonlySet<ErrorCode> = new Set(['control_unreachable', 'store_unavailable', 'shutting_down'])

/** What came of waiting: the instance (undefined once it is gone), and whether it is what was awaited. */
export interface Waited {
  readonly reached: boolean
  readonly instance: InstanceView | undefined
}

export interface WaitOptions extends Standard {
  readonly id: string
  readonly awaited: Awaited
  readonly timeoutMs: number
  readonly onChange?: (instance: InstanceView) => Promise<void>
}

export async function awaitState(core: Core, client: Client, options: WaitOptions): Promise<Result<Waited, Failure>> {
  const startedMs = core.clock.elapsedMs()
  let shown = ''
  let last = 'not seen yet'
  let name = options.id
  for (let pauseMs = POLL_MS.first; ; pauseMs = Math.min(POLL_MS.max, pauseMs * POLL_MS.factor)) {
    const seen = await client.call('getInstance', { params: { id: options.id } })
    if (!seen.ok && seen.error.code === 'not_found' && last !== 'not seen yet')
      return ok({ reached: options.awaited === 'deleted' || options.awaited === 'stopped', instance: undefined })
    // The control plane may be restarting: waiting is about the instance, so go on until the time is up.
    if (!seen.ok && !PASSING.has(seen.error.code)) return seen
    if (seen.ok) {
      const instance = seen.value
      const face = `${instance.state}, ${instance.reason}`
      last = tell(instance)
      name = instance.name
      if (face !== shown) await options.onChange?.(instance)
      shown = face
      const prospect = judge(instance, options.awaited, options)
      if (prospect !== 'waiting') return ok({ reached: prospect === 'reached', instance })
    }
    const leftMs = options.timeoutMs - (core.clock.elapsedMs() - startedMs)
    if (leftMs <= 0)
      return err(
        failure('wait_timeout', `${name} is not ${options.awaited} after ${shortSpan(options.timeoutMs)} (now ${last}).`, {
          instance_id: options.id,
          name,
          awaited: options.awaited,
        }),
      )
    await core.clock.sleep(Math.min(pauseMs, leftMs))
  }
}
