// `logs -f` goes on with the next incarnation: what heals an instance would otherwise end the very command that watches it.
import { err, ok, type Result } from '../base/result.ts'
import type { Client } from '../client/client.ts'
import type { Failure } from '../contracts/errors.ts'
import type { InstanceView } from '../contracts/views.ts'
import type { Core } from './core.ts'

const POLL_MS = 500
/** How long the control plane may take to hear of an end that its log already told. */
const NEWS_MS = 10_000

const OVER: ReadonlySet<string> = new Set(['stopped', 'completed', 'failed', 'deleted'])
/** No agent knows of it yet, so there is nobody to ask for output. */
const UNKNOWN: ReadonlySet<string> = new Set(['pending', 'placed'])
const LIVE: ReadonlySet<string> = new Set(['running', 'degraded', 'paused'])

/** What there is to wait for after the output of its incarnation `after` of an instance has ended. */
export function prospectAfter(
  { state, incarnation }: Pick<InstanceView, 'state' | 'incarnation'>,
  after: number,
): 'runs' | 'waiting' | 'unchanged' | 'over' {
  if (incarnation > after && (LIVE.has(state) || OVER.has(state))) return 'runs'
  if (OVER.has(state)) return 'over'
  // Between two runs the incarnation may have risen already, before there is anything to read.
  return LIVE.has(state) ? 'unchanged' : 'waiting'
}

/** The instance once an agent has it; its output is waited for there. */
export async function onceOnNode(core: Core, client: Client, id: string): Promise<Result<InstanceView, Failure>> {
  for (;;) {
    const seen = await client.call('getInstance', { params: { id } })
    if (!seen.ok || !UNKNOWN.has(seen.value.state)) return seen
    await core.clock.sleep(POLL_MS)
  }
}

/** The instance once a later incarnation has begun; undefined when none will, as far as anybody knows. */
export async function nextRun(core: Core, client: Client, id: string, after: number): Promise<Result<InstanceView | undefined, Failure>> {
  let unchangedMs = 0
  for (;;) {
    const seen = await client.call('getInstance', { params: { id } })
    if (!seen.ok && seen.error.code === 'not_found') return ok(undefined)
    if (!seen.ok && seen.error.code !== 'control_unreachable' && seen.error.code !== 'store_unavailable') return err(seen.error)
    if (seen.ok) {
      const prospect = prospectAfter(seen.value, after)
      if (prospect === 'runs') return ok(seen.value)
      if (prospect === 'over' || (prospect === 'unchanged' && unchangedMs >= NEWS_MS)) return ok(undefined)
      unchangedMs = prospect === 'unchanged' ? unchangedMs + POLL_MS : 0
    }
    await core.clock.sleep(POLL_MS)
  }
}
