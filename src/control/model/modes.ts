// What of health checks and recovery is in force for an instance, as far as the control plane knows. What is set on an instance or its
// env it knows itself; what its node says comes with the node's observations.
import type { ModesInForce } from '../../contracts/modes.ts'
import type { RecoveryMode } from '../../contracts/spec.ts'
import type { InstanceView } from '../../contracts/views.ts'
import type { InstanceRecord } from './instance.ts'

type Modes = Pick<InstanceRecord, 'recoveryMode' | 'checksMode' | 'envModes' | 'observed'>

/** null = the node decides, and has not said what. */
export function recoveryOf({ recoveryMode, envModes, observed }: Modes): RecoveryMode | null {
  const told = observed?.modes?.recovery
  // What it says of the levels within may be older than what is written here.
  return recoveryMode ?? envModes.recovery ?? (told?.setOn === 'node' ? told.mode : null)
}

/** What the node says is in force; before its first word, what is set here. */
export function modesView({ recoveryMode, checksMode, envModes, observed }: Modes): InstanceView['modes'] {
  const told = observed?.modes
  if (told)
    return {
      recovery: { mode: told.recovery.mode, set_on: told.recovery.setOn },
      health_checks: { mode: told.checks.mode, set_on: told.checks.setOn },
    }
  return {
    recovery: { mode: recoveryMode ?? envModes.recovery, set_on: levelOf(recoveryMode, envModes.recovery) },
    health_checks: { mode: checksMode ?? envModes.checks, set_on: levelOf(checksMode, envModes.checks) },
  }
}

const levelOf = (instance: string | null, env: string | null): ModesInForce['recovery']['setOn'] | null =>
  instance !== null ? 'instance' : env !== null ? 'env' : null

const WHERE = { instance: 'on it itself', env: 'on its env', node: 'on its node' } as const

/** `Recovery is observe: set on its env.` */
export function modesTexts(record: Modes): readonly string[] {
  const { recovery, health_checks } = modesView(record)
  return [sentence('Recovery is', recovery), sentence('Health checks are', health_checks)]
}

const sentence = (begin: string, { mode, set_on }: { mode: string | null; set_on: keyof typeof WHERE | null }): string =>
  mode === null || set_on === null ? `${begin} as its node decides.` : `${begin} ${mode}: set ${WHERE[set_on]}.`
