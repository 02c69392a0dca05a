// When the control plane will try again what a node gave up, as far as can be said without deciding: the healer decides.
import { ERRORS } from '../../contracts/errors.ts'
import type { HealRecord } from './heal.ts'
import type { InstanceRecord } from './instance.ts'
import { recoveryOf } from './modes.ts'

/** The healer's safety delay: nothing is done to what has been failed for less. */
export const SAFETY_DELAY_MS = 5000

const HOPELESS: ReadonlySet<string> = new Set(['permanent_error', 'recovery_off', 'exited_error'])

/** Why nothing will happen by itself to a failed instance; null when something will. */
export function restsBecause(
  instance: InstanceRecord,
  heal: HealRecord | null,
): 'not_wished' | 'permanent' | 'recovery_off' | 'ran_once' | 'given_up' | null {
  const { want, phase, generation } = instance
  const mode = recoveryOf(instance)
  if (want !== 'running') return 'not_wished'
  if (phase.reason === 'exited_error') return 'ran_once'
  if (phase.reason === 'recovery_off' || (mode !== null && mode !== 'on')) return 'recovery_off'
  if (HOPELESS.has(phase.reason) || (phase.lastError && ERRORS[phase.lastError.code].retry === 'never')) return 'permanent'
  return heal?.givenUp && heal.generation >= generation ? 'given_up' : null
}

/** null: not by itself, or not the healer's. A row that is not there yet comes in a moment. */
export function nextHealMs(instance: InstanceRecord, heal: HealRecord | null): number | null {
  if (instance.phase.kind !== 'failed' || restsBecause(instance, heal) !== null) return null
  return heal && heal.generation >= instance.generation ? heal.dueAtMs : instance.phase.sinceMs + SAFETY_DELAY_MS
}
