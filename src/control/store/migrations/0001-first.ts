// The first schema. Never edited once released: a change is a new file.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

// Ids sort by age, which is only true byte by byte; the database may have any collation.
const ID = 'text collate "C"'

/** First key of the advisory lock: any other application in the same database uses other numbers. */
const LOCK_EVENTS = 0x48_46_45_56

const STATEMENTS = [
  `create table orgs (
    id ${ID} primary key,
    name text not null unique,
    created_at_ms bigint not null
  )`,
  `create table tokens (
    id ${ID} primary key,
    name text not null,
    org_id ${ID} references orgs (id),
    role text not null check (role in ('operator', 'viewer', 'agent')),
    hash bytea not null check (length(hash) = 32),
    created_at_ms bigint not null,
    last_used_at_ms bigint
  )`,
  'create unique index tokens_hash on tokens (hash)',
  `create unique index tokens_name on tokens ((coalesce(org_id, '')), name)`,
  `create table nodes (
    id ${ID} primary key,
    cordoned boolean not null default false,
    connected boolean not null,
    last_seen_at_ms bigint not null,
    facts jsonb not null,
    usage jsonb not null,
    session_boot_id text not null,
    session_epoch bigint not null,
    session_replica integer not null,
    created_at_ms bigint not null
  )`,
  `create table apps (
    id ${ID} primary key,
    org_id ${ID} not null references orgs (id),
    name text not null,
    created_at_ms bigint not null,
    constraint apps_name unique (org_id, name)
  )`,
  `create table envs (
    id ${ID} primary key,
    org_id ${ID} not null references orgs (id),
    app_id ${ID} not null references apps (id),
    name text not null,
    manifest jsonb not null,
    manifest_hash text not null,
    deleting boolean not null default false,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    constraint envs_name unique (app_id, name)
  )`,
  // env_id has no foreign key: a deleted instance stays as evidence after its env is gone.
  `create table instances (
    id ${ID} primary key,
    org_id ${ID} not null references orgs (id),
    name text not null,
    runtime text not null,
    env_id ${ID},
    app text,
    env text,
    process_type text,
    slot integer,
    manifest_hash text,
    spec jsonb not null,
    input jsonb not null,
    labels jsonb not null,
    metadata jsonb not null,
    want text not null check (want in ('running', 'stopped', 'paused', 'deleted')),
    generation bigint not null,
    restart_seq bigint not null,
    recover_seq bigint not null,
    heal_seq bigint not null,
    recovery_mode text,
    node_id ${ID} references nodes (id),
    refusals jsonb not null,
    phase jsonb not null,
    state text not null,
    observed_generation bigint not null,
    observed_epoch bigint not null,
    incarnation bigint not null,
    observed jsonb,
    last_transition_seq bigint not null,
    history_seq bigint not null,
    version bigint not null,
    memory_bytes bigint not null,
    cpu_millis bigint not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    deleted_at_ms bigint
  )`,
  // A name is free again as soon as its instance is gone.
  'create unique index instances_name on instances (org_id, name) where deleted_at_ms is null',
  'create index instances_live on instances (id) where deleted_at_ms is null',
  'create index instances_state on instances (state, id) where deleted_at_ms is null',
  'create index instances_env on instances (env_id) where env_id is not null and deleted_at_ms is null',
  'create index instances_node on instances (node_id) include (want, state, memory_bytes, cpu_millis) where node_id is not null and deleted_at_ms is null',
  'create index instances_deleted on instances (deleted_at_ms) where deleted_at_ms is not null',
  // fastupdate off: a pending list makes a lookup right after writes ten times slower.
  'create index instances_labels on instances using gin (labels jsonb_path_ops) with (fastupdate = off)',
  'create index instances_label_keys on instances using gin (labels) with (fastupdate = off)',
  'create index instances_metadata on instances using gin (metadata jsonb_path_ops) with (fastupdate = off)',
  `create table transitions (
    instance_id ${ID} not null references instances (id) on delete cascade,
    seq bigint not null,
    at_ms bigint not null,
    body jsonb not null,
    primary key (instance_id, seq)
  )`,
  `create table events (
    cursor bigint primary key,
    at_ms bigint not null,
    type text not null,
    org_id ${ID},
    instance_id ${ID},
    node_id ${ID},
    data jsonb not null
  )`,
  // Cursors are given by a deferred trigger, that is inside of COMMIT: the lock that orders all writers is held for this insert and
  // the flush of the commit only, and never across a round trip to a client, whose event loop may be busy. Both statements of the
  // function take a fresh snapshot, the second one with the lock held, so it sees the newest cursor: no gaps, and nothing is ever
  // visible before everything below it. The row is deleted in the transaction that wrote it, so it needs no write-ahead log.
  'create unlogged table outbox (id bigint generated always as identity primary key, at_ms bigint not null, events jsonb not null)',
  `create function outbox_append() returns trigger language plpgsql as $$
  begin
    perform pg_advisory_xact_lock(${LOCK_EVENTS}, 1);
    insert into events (cursor, at_ms, type, org_id, instance_id, node_id, data)
      select head.cursor + fresh.n, new.at_ms, row.type, row.org_id, row.instance_id, row.node_id, row.data
      from (select coalesce(max(cursor), 0) as cursor from events) head,
        jsonb_array_elements(new.events) with ordinality as fresh(body, n),
        jsonb_to_record(fresh.body) as row(type text, org_id text, instance_id text, node_id text, data jsonb);
    delete from outbox where id = new.id;
    return null;
  end
  $$`,
  `create constraint trigger outbox_append after insert on outbox
    deferrable initially deferred for each row execute function outbox_append()`,
  'create index events_instance on events (instance_id, cursor) where instance_id is not null',
  'create index events_at on events (at_ms)',
  `create table audit (
    cursor bigint generated always as identity primary key,
    at_ms bigint not null,
    actor text not null,
    action text not null,
    org_id ${ID},
    target text not null,
    outcome text not null check (outcome in ('accepted', 'refused')),
    request_id text,
    data jsonb not null
  )`,
  'create index audit_org on audit (org_id, cursor)',
  `create table idempotency (
    scope text not null,
    key text not null,
    request_hash text not null,
    status integer,
    body jsonb,
    created_at_ms bigint not null,
    primary key (scope, key)
  )`,
  'create index idempotency_created on idempotency (created_at_ms)',
  `create table heals (
    instance_id ${ID} primary key references instances (id) on delete cascade,
    org_id ${ID} not null,
    generation bigint not null,
    given_up boolean not null,
    due_at_ms bigint not null,
    attempts integer not null,
    reason text not null,
    last_error text,
    lease text,
    lease_until_ms bigint,
    created_at_ms bigint not null
  )`,
  'create index heals_due on heals (due_at_ms) where not given_up',
  `create table singletons (
    name text primary key,
    epoch bigint not null
  )`,
]
