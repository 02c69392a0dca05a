// nextSteps(env, manifest, instances) -> what to do now. Asked again after every change; there is no script to lose.
//
// Missing replicas are made at once and surplus ones deleted at once; replicas made from an older manifest are replaced one at a
// time over the whole env, and only while every replica that is already new is ready. So a new version that does not come up stops
// the rollout after its first replica: the old ones go on serving, untouched, until somebody deploys something else.
// A replacement keeps its instance, its name and its slot: the spec is replaced and the generation raised, and the agent stops the
// old incarnation and starts the new one. What cannot change in place (another runtime, more memory, other nodes) is deleted, and
// made anew once it is gone, so that the scheduler's ledger stays exact.
// What a person stopped or paused stays so: it is given the new spec when stopped, and left alone when paused.
import { canonical } from '../../base/hash.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { type CompiledManifest, type CompiledProcess, replicaName } from '../../contracts/manifest-compile.ts'
import type { ModeWish } from '../../contracts/modes.ts'
import type { EnvRecord } from '../model/env.ts'
import { type Readiness, readinessOf } from '../model/env-status.ts'
import type { InstanceRecord } from '../model/instance.ts'

export type RolloutStep =
  | {
      readonly kind: 'create'
      readonly name: string
      readonly slot: number
      readonly process: CompiledProcess
      readonly modes: ModeWish
      readonly because: 'missing'
    }
  | {
      readonly kind: 'update'
      readonly id: InstanceId
      readonly slot: number
      readonly process: CompiledProcess
      readonly because: 'manifest_changed'
    }
  /** What the env says of recovery and health checks; no replica is replaced for it. */
  | { readonly kind: 'set_modes'; readonly id: InstanceId; readonly modes: ModeWish; readonly because: 'modes_changed' }
  | { readonly kind: 'delete'; readonly id: InstanceId; readonly because: 'surplus' | 'env_deleted' | 'cannot_change_in_place' }
  | { readonly kind: 'remove_env'; readonly because: 'env_deleted' }

export interface Rollout {
  readonly steps: readonly RolloutStep[]
  /** Replicas of the new manifest that fail and hold up the replacement of old ones; empty when nothing is held up. */
  readonly haltedBy: readonly InstanceId[]
}

interface Slot {
  readonly process: CompiledProcess
  readonly slot: number
  readonly instance: InstanceRecord | undefined
  readonly readiness: Readiness | 'missing'
  readonly current: boolean
}

export function nextSteps(env: EnvRecord, manifest: CompiledManifest, instances: readonly InstanceRecord[]): Rollout {
  const present = instances.filter((one) => one.phase.kind !== 'deleted')
  if (env.deleting) return { steps: removeAll(present), haltedBy: [] }
  const slots = manifest.processes.flatMap((process) => Array.from({ length: process.replicas }, (_, slot) => fill(process, slot, present)))
  const kept = new Set(slots.map((slot) => slot.instance?.id))
  const surplus = present
    .filter((one) => !kept.has(one.id) && one.want !== 'deleted')
    .map((one): RolloutStep => ({ kind: 'delete', id: one.id, because: 'surplus' }))
  const missing = slots
    .filter((slot) => slot.readiness === 'missing')
    .map(
      ({ process, slot }): RolloutStep => ({
        kind: 'create',
        name: replicaName(env.app, env.env, process.name, slot),
        slot,
        process,
        modes: manifest.modes,
        because: 'missing',
      }),
    )
  const old = slots.filter((slot) => slot.instance !== undefined && !slot.current && slot.readiness !== 'going')
  const halting = slots.filter((slot) => slot.current && slot.readiness === 'failing')
  const unsettled = slots.some(
    (slot) => slot.readiness === 'missing' || slot.readiness === 'going' || (slot.current && slot.readiness === 'starting'),
  )
  const serving = old.filter((slot) => slot.readiness !== 'resting')
  const next = halting.length > 0 || unsettled ? undefined : [...serving].sort(byUrgency)[0]
  const stopped = old.filter((slot) => slot.instance?.want === 'stopped')
  return {
    steps: [...surplus, ...missing, ...modesOf(manifest, slots), ...stopped.flatMap(replace), ...(next ? replace(next) : [])],
    haltedBy: serving.length > 0 ? halting.flatMap((slot) => slot.instance?.id ?? []) : [],
  }
}

export const sameModes = (a: ModeWish, b: ModeWish): boolean => a.recovery === b.recovery && a.checks === b.checks

/** For all of them at once: it is no new version that could turn out bad. */
const modesOf = ({ modes }: CompiledManifest, slots: readonly Slot[]): readonly RolloutStep[] =>
  slots.flatMap(({ instance }) =>
    instance && instance.want !== 'deleted' && !sameModes(instance.envModes, modes)
      ? [{ kind: 'set_modes', id: instance.id, modes, because: 'modes_changed' }]
      : [],
  )

function removeAll(present: readonly InstanceRecord[]): readonly RolloutStep[] {
  if (present.length === 0) return [{ kind: 'remove_env', because: 'env_deleted' }]
  return present.filter((one) => one.want !== 'deleted').map((one) => ({ kind: 'delete', id: one.id, because: 'env_deleted' }))
}

function fill(process: CompiledProcess, slot: number, present: readonly InstanceRecord[]): Slot {
  const holders = present.filter((one) => one.membership?.processType === process.name && one.membership.slot === slot)
  // One that is going still has the name, so it holds the slot until it is gone.
  const instance = holders.find((one) => one.want !== 'deleted') ?? holders[0]
  return {
    process,
    slot,
    instance,
    readiness: instance ? readinessOf(instance) : 'missing',
    current: instance?.membership?.manifestHash === process.hash,
  }
}

/** Those that serve nobody anyway go first; those whose node is gone last, because they cannot answer. */
const URGENCY: Readonly<Record<Slot['readiness'], number>> = { failing: 0, starting: 1, ready: 2, resting: 3, going: 4, missing: 5 }
const urgencyOf = (slot: Slot) => (slot.instance?.phase.kind === 'lost' ? 9 : URGENCY[slot.readiness])
const byUrgency = (a: Slot, b: Slot) => urgencyOf(a) - urgencyOf(b) || compare(a.process.name, b.process.name) || a.slot - b.slot
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

function replace({ instance, process, slot }: Slot): readonly RolloutStep[] {
  if (!instance) return []
  // Nothing of a stopped one runs or is reserved, so anything may change; made anew it would be started, which nobody asked for.
  if (instance.want === 'stopped' || changesInPlace(instance, process))
    return [{ kind: 'update', id: instance.id, slot, process, because: 'manifest_changed' }]
  return [{ kind: 'delete', id: instance.id, because: 'cannot_change_in_place' }]
}

function changesInPlace({ spec }: InstanceRecord, process: CompiledProcess): boolean {
  return (
    spec.runtime === process.spec.runtime &&
    spec.memoryBytes >= process.spec.memoryBytes &&
    canonical(spec.nodeSelector) === canonical(process.spec.nodeSelector)
  )
}
