// The record of an instance on its way into its columns.
import type { Insertable, Updateable } from 'kysely'
import type { EnvMembership, InstanceRecord } from '../model/instance.ts'
import { json } from './json.ts'
import type { InstanceTable } from './schema.ts'

type Columns = Updateable<InstanceTable>

const COLUMNS: { readonly [Field in keyof InstanceRecord]: (value: InstanceRecord[Field]) => Columns } = {
  id: (id) => ({ id }),
  orgId: (org_id) => ({ org_id }),
  name: (name) => ({ name }),
  runtime: (runtime) => ({ runtime }),
  membership: membershipColumns,
  spec: (spec) => ({ spec: json(spec), memory_bytes: spec.memoryBytes, cpu_millis: spec.cpuMillis }),
  input: (input) => ({ input: json(input) }),
  labels: (labels) => ({ labels: json(labels) }),
  metadata: (metadata) => ({ metadata: json(metadata) }),
  want: (want) => ({ want }),
  purge: (purge) => ({ purge }),
  generation: (generation) => ({ generation }),
  restartSeq: (restart_seq) => ({ restart_seq }),
  recoverSeq: (recover_seq) => ({ recover_seq }),
  healSeq: (heal_seq) => ({ heal_seq }),
  recoveryMode: (recovery_mode) => ({ recovery_mode }),
  checksMode: (checks_mode) => ({ checks_mode }),
  envModes: ({ recovery, checks }) => ({ env_recovery_mode: recovery, env_checks_mode: checks }),
  wishGeneration: (wish_generation) => ({ wish_generation }),
  wishedBy: (wished_by) => ({ wished_by }),
  nodeId: (node_id) => ({ node_id }),
  refusals: (refusals) => ({ refusals: json(refusals) }),
  phase: (phase) => ({ phase: json(phase), state: phase.kind }),
  observedGeneration: (observed_generation) => ({ observed_generation }),
  incarnation: (incarnation) => ({ incarnation }),
  observed: (observed) => ({ observed: observed && json(observed) }),
  lastTransitionSeq: (last_transition_seq) => ({ last_transition_seq }),
  version: (version) => ({ version }),
  createdAtMs: (created_at_ms) => ({ created_at_ms }),
  updatedAtMs: (updated_at_ms) => ({ updated_at_ms }),
  deletedAtMs: (deleted_at_ms) => ({ deleted_at_ms }),
}
const FIELDS = Object.keys(COLUMNS) as readonly (keyof InstanceRecord)[]

const columnsOf = <Field extends keyof InstanceRecord>(field: Field, record: InstanceRecord): Columns => COLUMNS[field](record[field])

/** The whole row of a new instance. Complete, because every field of the record has its columns above. */
export const newColumns = (record: InstanceRecord): Insertable<InstanceTable> =>
  Object.assign({ observed_epoch: 0, history_seq: 0 }, ...FIELDS.map((field) => columnsOf(field, record)))

/** The columns of the fields that a fold replaced. */
export const changedColumns = (before: InstanceRecord, after: InstanceRecord): Columns =>
  Object.assign({}, ...FIELDS.filter((field) => before[field] !== after[field]).map((field) => columnsOf(field, after)))

function membershipColumns(given: EnvMembership | null) {
  return {
    env_id: given?.envId ?? null,
    app: given?.app ?? null,
    env: given?.env ?? null,
    process_type: given?.processType ?? null,
    slot: given?.slot ?? null,
    manifest_hash: given?.manifestHash ?? null,
  }
}
