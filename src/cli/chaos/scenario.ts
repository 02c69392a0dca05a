// A scenario: what it does, what it needs, and the doing. `catalog.ts` lists them.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceInput } from '../../contracts/spec.ts'
import type { Rig } from './rig.ts'

export interface ScenarioOptions {
  readonly instances: number
  readonly faults: number
  /** Mean time between two faults of the whole fleet. */
  readonly everyMs: number
  readonly warmUpMs: number
  /** How long a fault is watched before its recovery is censored. */
  readonly watchMs: number
  readonly launch: Partial<InstanceInput>
  readonly parts: Parts
}

/** Parts of the install that may be harmed, because somebody said so: read anew for each fault, since a supervisor starts them again. */
export interface Parts {
  readonly pid: (part: PartName) => number | null
  readonly fillDir: string | null
  readonly listen: string | null
  readonly to: string | null
}
/** Where one can dial: a TCP port, or a unix socket. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string }

export const PART_NAMES = ['agent', 'control', 'postgres', 'dockerd'] as const
export type PartName = (typeof PART_NAMES)[number]

export interface Scenario {
  readonly name: string
  readonly does: string
  readonly needs: string
  /** A control must cause no action. */
  readonly control: boolean
  /** A sensible size for a first try. */
  readonly usual: { readonly instances: number; readonly faults: number; readonly everyMs: number; readonly watchMs: number }
  run(rig: Rig, options: ScenarioOptions): Promise<Result<void, Failure>>
}
