// Changes of the desired half, and of labels and metadata: always re-read under the row lock.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { applyPatch, Labels, Metadata, RESERVED_PREFIX } from '../../contracts/labels.ts'
import type { Phase } from '../../contracts/phase.ts'
import type { InstanceSpec, RecoveryMode } from '../../contracts/spec.ts'
import type { EnvMembership, InstanceRecord, Want } from '../model/instance.ts'
import { attempt } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { json } from './json.ts'
import { INSTANCE_COLUMNS, instanceRecord, membershipColumns } from './records.ts'
import { recordStep } from './steps.ts'

/** What a verb changes; every change raises the generation by one. */
export interface DesiredChange {
  /** Named in the event: `start`, `stop`, `recover`, `heal`, `deploy`, … */
  readonly verb: string
  readonly want?: Want
  /** Raise the counter the agent acts upon once. */
  readonly restart?: true
  readonly recover?: true
  readonly heal?: true
  readonly recoveryMode?: RecoveryMode | null
  readonly spec?: { readonly spec: InstanceSpec; readonly input: Readonly<Record<string, unknown>> }
  readonly membership?: EnvMembership
  /** Take it off its node, so that it is placed anew (phase becomes `pending`). */
  readonly unplace?: true
}

/**
 * Locks the row, lets `decide` look at it, and applies the change it returns. `decide` may refuse (the refusal is returned) or
 * return null: nothing to do, the row comes back unchanged. Wanting `deleted` for an unplaced instance deletes it at once.
 * A deleted instance is `not_found`; one wanted deleted refuses any other want with `wrong_state`.
 */
export async function changeDesired(
  tx: Tx,
  id: InstanceId,
  decide: (now: InstanceRecord) => Result<DesiredChange | null, Failure>,
): Promise<Result<InstanceRecord, Failure>> {
  const locked = await lockLive(tx.db, id)
  if (!locked.ok) return locked
  const decision = decide(locked.value)
  if (!decision.ok) return decision
  const change = decision.value
  if (change === null) return locked
  const now = locked.value
  if (now.want === 'deleted') {
    if ((change.want ?? 'deleted') === 'deleted') return locked
    return err(failure('wrong_state', `${now.name} is being deleted.`, { state: now.phase.kind, want: now.want }))
  }
  return attempt(() => apply(tx, now, change))
}

async function lockLive(db: Db, id: InstanceId): Promise<Result<InstanceRecord, Failure>> {
  const found = await attempt(async () => {
    const row = await db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('id', '=', id)
      .where('deleted_at_ms', 'is', null)
      .forNoKeyUpdate()
      .executeTakeFirst()
    return row ? instanceRecord(row) : null
  })
  if (!found.ok) return found
  return found.value === null ? err(failure('not_found', `No instance ${id}.`, { kind: 'instance', ref: id })) : ok(found.value)
}

async function apply(tx: Tx, now: InstanceRecord, change: DesiredChange): Promise<InstanceRecord> {
  const nodeId = change.unplace ? null : now.nodeId
  const want = change.want ?? now.want
  const gone = want === 'deleted' && nodeId === null
  const moved: Phase['kind'] | null = gone ? 'deleted' : change.unplace && now.nodeId !== null ? 'pending' : null
  const phase: Phase | null =
    moved === null
      ? null
      : { kind: moved, reason: moved === 'deleted' ? 'requested' : 'waiting_for_node', sinceMs: tx.nowMs, attempt: 0, lastError: null }
  const row = await tx.db
    .updateTable('instances')
    .set({
      want,
      generation: now.generation + 1,
      restart_seq: now.restartSeq + (change.restart ? 1 : 0),
      recover_seq: now.recoverSeq + (change.recover ? 1 : 0),
      heal_seq: now.healSeq + (change.heal ? 1 : 0),
      version: now.version + 1,
      updated_at_ms: tx.nowMs,
      ...(change.recoveryMode !== undefined && { recovery_mode: change.recoveryMode }),
      ...(change.membership && membershipColumns(change.membership)),
      ...(change.spec && specColumns(change.spec)),
      ...(phase && { phase: json(phase), state: phase.kind }),
      // The next node's agent counts from the beginning.
      ...(change.unplace && {
        node_id: null,
        refusals: '[]',
        observed_generation: 0,
        observed_epoch: 0,
        incarnation: 0,
        last_transition_seq: 0,
      }),
      ...(gone && { deleted_at_ms: tx.nowMs }),
    })
    .where('id', '=', now.id)
    .returning(INSTANCE_COLUMNS)
    .executeTakeFirstOrThrow()
  const about = { orgId: now.orgId, instanceId: now.id, nodeId }
  tx.emit({
    type: 'instance.desired_changed',
    ...about,
    data: { verb: change.verb, want, generation: now.generation + 1, actor: tx.actor },
  })
  if (phase) await recordStep(tx, now, phase)
  if (gone) tx.emit({ type: 'instance.deleted', ...about, data: { name: now.name } })
  tx.changed({ kind: 'instance', id: now.id })
  return instanceRecord(row)
}

function specColumns(given: { readonly spec: InstanceSpec; readonly input: Readonly<Record<string, unknown>> }) {
  return {
    runtime: given.spec.runtime,
    spec: json(given.spec),
    input: json(given.input),
    memory_bytes: given.spec.memoryBytes,
    cpu_millis: given.spec.cpuMillis,
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
export async function putMetadata(tx: Tx, id: InstanceId, change: MetadataChange): Promise<Result<InstanceRecord, Failure>> {
  const locked = await lockLive(tx.db, id)
  if (!locked.ok) return locked
  const now = locked.value
  if (change.ifVersion !== null && change.ifVersion !== now.version)
    return err(
      failure('version_conflict', `${now.name} is at version ${now.version}.`, { expected: change.ifVersion, version: now.version }),
    )
  const labels = changed('labels', now.labels, change.labels, change.mode)
  if (!labels.ok) return labels
  const metadata = changed('metadata', now.metadata, change.metadata, change.mode)
  if (!metadata.ok) return metadata
  return attempt(async () => {
    const row = await tx.db
      .updateTable('instances')
      .set({
        version: now.version + 1,
        updated_at_ms: tx.nowMs,
        ...(labels.value && { labels: json(labels.value) }),
        ...(metadata.value && { metadata: json(metadata.value) }),
      })
      .where('id', '=', id)
      .returning(INSTANCE_COLUMNS)
      .executeTakeFirstOrThrow()
    const keys = [...Object.keys(change.labels ?? {}), ...Object.keys(change.metadata ?? {})]
    const data = { version: row.version, keys, actor: tx.actor }
    tx.emit({ type: 'instance.metadata_changed', orgId: now.orgId, instanceId: now.id, nodeId: now.nodeId, data })
    tx.changed({ kind: 'instance', id })
    return instanceRecord(row)
  })
}

/** null = not asked for. The platform's own keys neither count nor go. */
function changed(
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
