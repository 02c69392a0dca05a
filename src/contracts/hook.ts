// What the operator's program is told about an instance (docs/models/hooks.md).
import type { InstanceId, OrgId } from './ids.ts'
import type { PhaseKind, Reason } from './phase.ts'

export const HOOKS = ['created', 'started', 'stopped', 'deleted', 'errored', 'paused', 'resumed', 'rebooted'] as const
export type Hook = (typeof HOOKS)[number]

/** One event of one instance, as it goes to the program on one line. */
export interface HookEvent {
  readonly hook: Hook
  readonly instance_id: InstanceId
  readonly name: string
  readonly org_id: OrgId
  readonly node_id: string
  readonly labels: Readonly<Record<string, string>>
  readonly incarnation: number
  readonly state: PhaseKind
  readonly reason: Reason
  readonly error: { readonly code: string; readonly detail: string } | null
  /** RFC 3339, by the clock of the node. */
  readonly at: string
}
