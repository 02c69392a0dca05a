// Health checks and recovery can be set on a node, on an env and on an instance; the innermost word holds (docs/models/recovery.md, "Modes").
// Control plane and agent both come through here, so they cannot disagree about what is in force.
import { z } from 'zod'
import type { ReliabilityConfig } from './reliability.ts'
import { RecoveryMode } from './spec.ts'

export const ChecksMode = z.enum(['on', 'off'])
export type ChecksMode = z.infer<typeof ChecksMode>

/** What one level says; null = nothing, the level outside of it decides. */
export const ModeWish = z.object({ recovery: RecoveryMode.nullable(), checks: ChecksMode.nullable() })
export type ModeWish = z.infer<typeof ModeWish>
export const NO_MODES: ModeWish = { recovery: null, checks: null }

export const SetOn = z.enum(['instance', 'env', 'node'])

/** What is in force for one instance, and which level says so. */
export const ModesInForce = z.object({
  recovery: z.object({ mode: RecoveryMode, setOn: SetOn }),
  checks: z.object({ mode: ChecksMode, setOn: SetOn }),
})
export type ModesInForce = z.infer<typeof ModesInForce>

export interface ModeLevels {
  readonly instance: ModeWish
  readonly env: ModeWish
}

/** `enabled = false` of the node switches off both, whatever the levels within say. */
export function modesInForce({ instance, env }: ModeLevels, { enabled, recovery, healthCheck }: ReliabilityConfig): ModesInForce {
  if (!enabled) return { recovery: { mode: 'off', setOn: 'node' }, checks: { mode: 'off', setOn: 'node' } }
  return {
    recovery: innermost(instance.recovery, env.recovery, recovery.mode),
    checks: innermost(instance.checks, env.checks, healthCheck.enabled ? 'on' : 'off'),
  }
}

function innermost<Mode>(instance: Mode | null, env: Mode | null, node: Mode): { mode: Mode; setOn: z.infer<typeof SetOn> } {
  if (instance !== null) return { mode: instance, setOn: 'instance' }
  return env === null ? { mode: node, setOn: 'node' } : { mode: env, setOn: 'env' }
}
