// What the conformance suite of stores needs of a kind of store, and how PostgreSQL gives it.
import type { Clock } from '../../src/base/clock.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import type { StoreBench } from './stores.ts'

export interface OpenedStore extends StoreAccess {
  close(): Promise<void>
}

interface Opening {
  readonly clock?: Clock
  readonly connectionsMax?: number
  readonly keysKeptMs?: number
}

/** One database, which any number of replicas of the control plane may open. */
export interface StoreDatabase {
  /** Closed when the test ends. */
  store(given?: Opening): Promise<OpenedStore>
  /** Ends all connections to it, once: those that have one notice. */
  cut(): Promise<void>
}

export interface AccessBench {
  /** A new empty one. */
  database(): Promise<StoreDatabase>
  /** On a database of its own. */
  store(given?: Opening): Promise<OpenedStore>
}

const CUT = 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'

export function accessOf(bench: StoreBench): AccessBench {
  return {
    store: (given) => bench.store(given),
    database: async () => {
      const target = await bench.database()
      return {
        store: (given) => bench.store({ ...given, target }),
        cut: async () => {
          const client = await bench.connect(target)
          await client.query(CUT)
        },
      }
    },
  }
}
