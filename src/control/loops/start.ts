// The control plane's own work beside the API: placing, healing, rolling out, watching nodes, tidying up.
import type { LoopsDeps } from './deps.ts'
import { healerLoop } from './healer-loop.ts'
import { janitorLoop } from './janitor-loop.ts'
import { nodesLoop } from './nodes-loop.ts'
import { rolloutLoop } from './rollout-loop.ts'
import { type LoopHealth, Runner } from './runner.ts'
import { schedulerLoop } from './scheduler-loop.ts'

export interface Loops {
  /** Of each loop, in a fixed order; `standing by` while another replica of the control plane holds the lease. */
  health(): readonly LoopHealth[]
  /** Look at everything now. Costs a query per loop; never needed for correctness. */
  nudge(): void
  /** Ends the passes under way and gives the lease back. Before `store.close()`. */
  close(): Promise<void>
}

/** Returns at once; the store may be away. Any number of replicas may call it: one of them works. */
export function startLoops(deps: LoopsDeps): Loops {
  return new Runner(deps, [schedulerLoop(deps), healerLoop(deps), rolloutLoop(deps), nodesLoop(deps), janitorLoop(deps)])
}
