// The tables as kysely sees them; migrations/ creates them. Times are Unix milliseconds in bigint columns, from the injected
// clock; ids use the "C" collation so that their order is their age.
import type { ColumnType, Generated, JSONColumnType } from 'kysely'

/** Read as parsed JSON, written as text. */
type Json = JSONColumnType<object, string, string>

export interface Schema {
  orgs: { id: string; name: string; created_at_ms: number }
  tokens: {
    id: string
    name: string
    org_id: string | null
    role: string
    /** SHA-256 of the secret. */
    hash: Buffer
    created_at_ms: number
    last_used_at_ms: number | null
  }
  nodes: {
    id: string
    cordoned: Generated<boolean>
    connected: boolean
    last_seen_at_ms: number
    facts: Json
    usage: Json
    session_boot_id: string
    session_epoch: number
    /** The replica of the control plane that holds the session; it counts as live only while that replica lives. */
    session_replica: number
    created_at_ms: number
  }
  instances: InstanceTable
  transitions: { instance_id: string; seq: number; at_ms: number; body: Json }
  events: {
    cursor: number
    at_ms: number
    type: string
    org_id: string | null
    instance_id: string | null
    node_id: string | null
    data: Json
  }
  audit: {
    cursor: Generated<number>
    at_ms: number
    actor: string
    action: string
    org_id: string | null
    target: string
    outcome: string
    request_id: string | null
    data: Json
  }
  idempotency: {
    scope: string
    key: string
    request_hash: string
    status: number | null
    body: ColumnType<unknown, string | null, string | null>
    created_at_ms: number
  }
  heals: {
    instance_id: string
    org_id: string
    generation: number
    given_up: boolean
    due_at_ms: number
    attempts: number
    reason: string
    last_error: string | null
    lease: string | null
    lease_until_ms: number | null
    created_at_ms: number
  }
  apps: { id: string; org_id: string; name: string; created_at_ms: number }
  envs: {
    id: string
    org_id: string
    app_id: string
    name: string
    manifest: Json
    manifest_hash: string
    deleting: boolean
    created_at_ms: number
    updated_at_ms: number
  }
  singletons: { name: string; epoch: number }
}

export interface InstanceTable {
  id: string
  org_id: string
  name: string
  runtime: string
  env_id: string | null
  app: string | null
  env: string | null
  process_type: string | null
  slot: number | null
  manifest_hash: string | null
  spec: Json
  input: Json
  labels: Json
  metadata: Json
  want: string
  purge: Generated<boolean>
  generation: number
  restart_seq: number
  recover_seq: number
  heal_seq: number
  recovery_mode: string | null
  checks_mode: string | null
  env_recovery_mode: string | null
  env_checks_mode: string | null
  /** null: written before it was kept; every change was a wish then. */
  wish_generation: number | null
  wished_by: string | null
  node_id: string | null
  refusals: Json
  phase: Json
  state: string
  observed_generation: number
  /** Session in which the agent last spoke of it; a new session is believed even when its numbers are lower. */
  observed_epoch: number
  incarnation: number
  observed: ColumnType<object | null, string | null, string | null>
  /** The agent's numbering; `history_seq` is ours, over all nodes the instance has been on. */
  last_transition_seq: number
  history_seq: number
  version: number
  memory_bytes: number
  cpu_millis: number
  created_at_ms: number
  updated_at_ms: number
  deleted_at_ms: number | null
}
