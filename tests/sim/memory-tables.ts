// Tables in memory. Rows are never changed, only replaced, and are read in the order of their keys, as PostgreSQL's are. A draft is a
// table as one write sees it: its own changes on top, which nobody else sees before they are committed.

import type { Transition } from '../../src/contracts/agent-protocol.ts'
import type { AppId, OrgId } from '../../src/contracts/ids.ts'
import type { EnvRecord } from '../../src/control/model/env.ts'
import type { AuditRecord, EventRecord } from '../../src/control/model/event.ts'
import type { HealRecord } from '../../src/control/model/heal.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { NodeRecord } from '../../src/control/model/node.ts'
import type { OrgRecord } from '../../src/control/model/org.ts'
import type { KnownKey } from '../../src/control/store/mutation.ts'

type Key = string | number

export interface Rows<K extends Key, Row> {
  get(key: K): Row | undefined
  /** In the order of the keys. */
  all(): readonly Row[]
  /** That of the highest key. */
  last(): Row | undefined
  put(key: K, row: Row): void
  drop(key: K): void
}

class Table<K extends Key, Row> implements Rows<K, Row> {
  readonly #rows = new Map<K, Row>()
  readonly #keys: K[] = []
  #all: readonly Row[] | null = null

  get keys(): readonly K[] {
    return this.#keys
  }
  get(key: K): Row | undefined {
    return this.#rows.get(key)
  }
  all(): readonly Row[] {
    this.#all ??= [...this.#keys].flatMap((key) => this.#rows.get(key) ?? [])
    return this.#all
  }
  last(): Row | undefined {
    const key = this.#keys.at(-1)
    return key === undefined ? undefined : this.#rows.get(key)
  }
  put(key: K, row: Row): void {
    if (!this.#rows.has(key)) this.#keys.splice(placeOf(this.#keys, key), 0, key)
    this.#rows.set(key, row)
    this.#all = null
  }
  drop(key: K): void {
    if (!this.#rows.delete(key)) return
    this.#keys.splice(placeOf(this.#keys, key), 1)
    this.#all = null
  }
}

class Draft<K extends Key, Row> implements Rows<K, Row> {
  readonly #table: Table<K, Row>
  /** null = dropped. */
  readonly #changes = new Map<K, Row | null>()

  constructor(table: Table<K, Row>) {
    this.#table = table
  }
  get(key: K): Row | undefined {
    const changed = this.#changes.get(key)
    return changed === undefined ? this.#table.get(key) : (changed ?? undefined)
  }
  all(): readonly Row[] {
    if (this.#changes.size === 0) return this.#table.all()
    const added = [...this.#changes.keys()].filter((key) => this.#table.get(key) === undefined)
    const keys = added.length === 0 ? this.#table.keys : [...this.#table.keys, ...added].sort(byKey)
    return keys.flatMap((key) => this.get(key) ?? [])
  }
  last(): Row | undefined {
    return this.#changes.size === 0 ? this.#table.last() : this.all().at(-1)
  }
  put(key: K, row: Row): void {
    this.#changes.set(key, row)
  }
  drop(key: K): void {
    this.#changes.set(key, null)
  }
  commit(): void {
    for (const [key, row] of this.#changes) {
      if (row === null) this.#table.drop(key)
      else this.#table.put(key, row)
    }
  }
}

/** By bytes, which for our ASCII keys is by code unit. */
const byKey = (left: Key, right: Key): number => (left < right ? -1 : left > right ? 1 : 0)

/** Where the key is, or belongs. Nearly always at the end: ids and cursors rise. */
function placeOf<K extends Key>(keys: readonly K[], key: K): number {
  const last = keys.at(-1)
  if (last === undefined || last < key) return keys.length
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((keys[middle] as K) < key) low = middle + 1
    else high = middle
  }
  return low
}

export interface InstanceRow {
  readonly record: InstanceRecord
  readonly observedEpoch: number
  readonly historySeq: number
}
/** Without the ledger, which is counted when it is read. */
export type NodeRow = Omit<NodeRecord, 'reservedMemoryBytes' | 'reservedCpuMillis' | 'instances'> & {
  readonly bootId: string
  readonly replica: number
}
export interface HealRow {
  readonly record: HealRecord
  readonly lease: string | null
  readonly leaseUntilMs: number
}
export interface AppRow {
  readonly id: AppId
  readonly orgId: OrgId
  readonly name: string
}

/** Keyed by id, where nothing else is said. */
export interface MemoryRows {
  readonly orgs: Rows<string, OrgRecord>
  readonly apps: Rows<string, AppRow>
  readonly envs: Rows<string, EnvRecord>
  readonly nodes: Rows<string, NodeRow>
  readonly instances: Rows<string, InstanceRow>
  /** By instance. */
  readonly transitions: Rows<string, readonly Transition[]>
  /** By instance. */
  readonly heals: Rows<string, HealRow>
  /** By cursor. */
  readonly events: Rows<number, EventRecord>
  readonly audits: Rows<number, AuditRecord>
  /** Idempotency keys, by scope and key. */
  readonly keys: Rows<string, KnownKey & { readonly name: string; readonly createdAtMs: number }>
  /** Epochs, by the name of the lease. */
  readonly singletons: Rows<string, number>
}

type Tables = { readonly [Name in keyof MemoryRows]: MemoryRows[Name] extends Rows<infer K, infer Row> ? Table<K, Row> : never }

export function memoryTables(): { readonly rows: MemoryRows; draft(): { readonly rows: MemoryRows; commit(): void } } {
  const tables: Tables = {
    orgs: new Table(),
    apps: new Table(),
    envs: new Table(),
    nodes: new Table(),
    instances: new Table(),
    transitions: new Table(),
    heals: new Table(),
    events: new Table(),
    audits: new Table(),
    keys: new Table(),
    singletons: new Table(),
  }
  return {
    rows: tables,
    draft() {
      const drafts = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, new Draft<Key, unknown>(table as never)]))
      return {
        rows: drafts as unknown as MemoryRows,
        commit: () => {
          for (const draft of Object.values(drafts)) draft.commit()
        },
      }
    },
  }
}
