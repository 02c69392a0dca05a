// What people and loops change in an instance: its desired half, its labels and metadata. Pure.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId, OrgId } from '../../contracts/ids.ts'
import { applyPatch, Labels, Metadata, RESERVED_PREFIX } from '../../contracts/labels.ts'
import { type ChecksMode, type ModeWish, NO_MODES } from '../../contracts/modes.ts'
import type { InstanceSpec, RecoveryMode } from '../../contracts/spec.ts'
import type { Actor } from '../model/actor.ts'
import type { NewEvent } from '../model/event.ts'
import type { EnvMembership, InstanceRecord, Want } from '../model/instance.ts'
import { type InstanceFold, ownPhase, stepTo } from './instance-fold.ts'

export interface NewInstance {
  readonly id: InstanceId
  readonly orgId: OrgId
  readonly name: string
  readonly spec: InstanceSpec
  readonly input: Readonly<Record<string, unknown>>
  readonly labels: Readonly<Record<string, string>>
  readonly metadata: Readonly<Record<string, string>>
  readonly membership: EnvMembership | null
  readonly recoveryMode: RecoveryMode | null
  /** Set on its env; nothing when it has none. */
  readonly envModes?: ModeWish
}

/** The record that an instance begins with. */
export function firstRecord(given: NewInstance, actor: Actor, nowMs: number): InstanceRecord {
  return {
    ...given,
    checksMode: null,
    envModes: given.envModes ?? NO_MODES,
    wishGeneration: 1,
    wishedBy: actor,
    runtime: given.spec.runtime,
    want: 'running',
    purge: false,
    generation: 1,
    restartSeq: 0,
    recoverSeq: 0,
    healSeq: 0,
    nodeId: null,
    refusals: [],
    phase: ownPhase('pending', 'waiting_for_node', nowMs),
    observedGeneration: 0,
    incarnation: 0,
    observed: null,
    lastTransitionSeq: 0,
    version: 1,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    deletedAtMs: null,
  }
}

export const createdEvent = (given: NewInstance, actor: Actor): NewEvent => ({
  type: 'instance.created',
  orgId: given.orgId,
  instanceId: given.id,
  data: { name: given.name, runtime: given.spec.runtime, actor },
})

export const noInstance = (ref: string): Failure => failure('not_found', `No instance ${ref}.`, { kind: 'instance', ref })
export const nameTaken = (name: string): Failure => failure('name_taken', `An instance named ${name} exists.`, { field: 'name', name })

/** What a verb changes; every change raises the generation by one. */
export interface DesiredChange {
  /** Named in the event: `start`, `stop`, `recover`, `heal`, `deploy`, … */
  readonly verb: string
  readonly want?: Want
  /** With `deleted`: no evidence is kept. It may follow a deletion that is under way. */
  readonly purge?: true
  /** Raise the counter the agent acts upon once. */
  readonly restart?: true
  readonly recover?: true
  readonly heal?: true
  readonly recoveryMode?: RecoveryMode | null
  readonly checksMode?: ChecksMode | null
  readonly envModes?: ModeWish
  readonly spec?: { readonly spec: InstanceSpec; readonly input: Readonly<Record<string, unknown>> }
  readonly membership?: EnvMembership
  /** Take it off its node, so that it is placed anew (phase becomes `pending`). */
  readonly unplace?: true
}

/** null = nothing changes. Wanting `deleted` for an unplaced instance deletes it at once. */
export function foldDesired(
  now: InstanceRecord,
  change: DesiredChange | null,
  actor: Actor,
  nowMs: number,
): Result<InstanceFold | null, Failure> {
  if (change === null) return ok(null)
  if (now.want === 'deleted') {
    if ((change.want ?? 'deleted') === 'deleted' && (!change.purge || now.purge)) return ok(null)
    if (change.purge && change.want === 'deleted') return ok(purged(now, change, actor, nowMs))
    return err(failure('wrong_state', `${now.name} is being deleted.`, { state: now.phase.kind, want: now.want }))
  }
  const want = change.want ?? now.want
  const left = change.unplace === true
  const nodeId = left ? null : now.nodeId
  const gone = want === 'deleted' && nodeId === null
  const phase = gone
    ? ownPhase('deleted', 'requested', nowMs)
    : left && now.nodeId !== null
      ? ownPhase('pending', 'waiting_for_node', nowMs)
      : null
  const moved = phase && stepTo(now, phase, nowMs)
  const generation = now.generation + 1
  const about = { orgId: now.orgId, instanceId: now.id, nodeId }
  return ok({
    after: {
      ...now,
      ...raised(now, change),
      ...(isWish(change) && { wishGeneration: generation, wishedBy: actor }),
      want,
      purge: change.purge ?? now.purge,
      generation,
      updatedAtMs: nowMs,
      ...(phase && { phase }),
      ...(left && { nodeId, refusals: [], observedGeneration: 0, incarnation: 0, lastTransitionSeq: 0 }),
      ...(gone && { deletedAtMs: nowMs }),
    },
    left,
    step: moved?.step ?? null,
    events: [
      { type: 'instance.desired_changed', ...about, data: { verb: change.verb, want, generation, actor, ...modesData(change) } },
      ...(moved ? [moved.event] : []),
      ...(gone ? [{ type: 'instance.deleted' as const, ...about, data: { name: now.name } }] : []),
    ],
  })
}

/** It is being deleted, and now its evidence is to go as well. */
function purged(now: InstanceRecord, change: DesiredChange, actor: Actor, nowMs: number): InstanceFold {
  const generation = now.generation + 1
  const about = { orgId: now.orgId, instanceId: now.id, nodeId: now.nodeId }
  return {
    after: { ...now, version: now.version + 1, purge: true, generation, updatedAtMs: nowMs },
    left: false,
    step: null,
    events: [{ type: 'instance.desired_changed', ...about, data: { verb: change.verb, want: 'deleted', generation, actor } }],
  }
}
/** It asks for something to be done. How much the platform does by itself is no such thing: it moves nobody who rests. */
const isWish = ({ want, restart, recover, heal, spec, membership, unplace }: DesiredChange): boolean =>
  [want, restart, recover, heal, spec, membership, unplace].some((part) => part !== undefined)

const modesData = ({ recoveryMode, checksMode, envModes }: DesiredChange) => ({
  ...(recoveryMode !== undefined && { recovery: recoveryMode }),
  ...(checksMode !== undefined && { health_checks: checksMode }),
  ...(envModes && { env_recovery: envModes.recovery, env_health_checks: envModes.checks }),
})

function raised(now: InstanceRecord, change: DesiredChange): Partial<InstanceRecord> {
  return {
    version: now.version + 1,
    restartSeq: now.restartSeq + (change.restart ? 1 : 0),
    recoverSeq: now.recoverSeq + (change.recover ? 1 : 0),
    healSeq: now.healSeq + (change.heal ? 1 : 0),
    ...(change.recoveryMode !== undefined && { recoveryMode: change.recoveryMode }),
    ...(change.checksMode !== undefined && { checksMode: change.checksMode }),
    ...(change.envModes && { envModes: change.envModes }),
    ...(change.membership && { membership: change.membership }),
    ...(change.spec && { ...change.spec, runtime: change.spec.spec.runtime }),
  }
}

export interface MetadataChange {
  readonly labels?: Readonly<Record<string, string | null>>
  readonly metadata?: Readonly<Record<string, string | null>>
  readonly mode: 'merge' | 'replace'
  /** From If-Match; null = unconditional. */
  readonly ifVersion: number | null
}

/** Fails with `version_conflict`, or `invalid_input` when the result would break a limit. Labels under holdfast.io/ are kept. */
export function foldMetadata(now: InstanceRecord, change: MetadataChange, actor: Actor, nowMs: number): Result<InstanceFold, Failure> {
  if (change.ifVersion !== null && change.ifVersion !== now.version)
    return err(
      failure('version_conflict', `${now.name} is at version ${now.version}.`, { expected: change.ifVersion, version: now.version }),
    )
  const labels = patched('labels', now.labels, change.labels, change.mode)
  if (!labels.ok) return labels
  const metadata = patched('metadata', now.metadata, change.metadata, change.mode)
  if (!metadata.ok) return metadata
  const version = now.version + 1
  const keys = [...Object.keys(change.labels ?? {}), ...Object.keys(change.metadata ?? {})]
  return ok({
    after: {
      ...now,
      version,
      updatedAtMs: nowMs,
      ...(labels.value && { labels: labels.value }),
      ...(metadata.value && { metadata: metadata.value }),
    },
    left: false,
    step: null,
    events: [
      {
        type: 'instance.metadata_changed',
        orgId: now.orgId,
        instanceId: now.id,
        nodeId: now.nodeId,
        data: { version, keys, actor },
      },
    ],
  })
}

/** null = not asked for. The platform's own keys neither count nor go. */
function patched(
  field: 'labels' | 'metadata',
  map: Readonly<Record<string, string>>,
  patch: Readonly<Record<string, string | null>> | undefined,
  mode: MetadataChange['mode'],
): Result<Record<string, string> | null, Failure> {
  if (patch === undefined) return ok(null)
  const isOurs = ([key]: readonly [string, unknown]) => key.startsWith(RESERVED_PREFIX)
  const ours = Object.fromEntries(Object.entries(map).filter(isOurs))
  const theirs = Object.fromEntries(Object.entries(map).filter((entry) => !isOurs(entry)))
  const parsed = (field === 'labels' ? Labels : Metadata).safeParse(applyPatch(mode === 'replace' ? {} : theirs, patch))
  if (parsed.success) return ok({ ...parsed.data, ...ours })
  const issue = parsed.error.issues[0]
  const where = [field, ...(issue?.path ?? [])].join('.')
  return err(failure('invalid_input', `${where}: ${issue?.message ?? 'not valid'}`, { field: where }))
}
