// Memory stores for the conformance suite.
import { onTestFinished } from 'vitest'
import { systemClock } from '../../src/base/system.ts'
import type { AccessBench, StoreDatabase } from '../support/store-bench.ts'
import { MemoryDatabase } from './memory-database.ts'
import { MemoryStore } from './memory-store.ts'

function memoryDatabase(): StoreDatabase {
  const database = new MemoryDatabase()
  const stores: MemoryStore[] = []
  return {
    async store(given = {}) {
      const { clock = systemClock, keysKeptMs } = given
      const store = new MemoryStore({ database, clock, ...(keysKeptMs !== undefined && { keysKeptMs }) })
      stores.push(store)
      onTestFinished(() => store.close())
      return store
    },
    async cut() {
      for (const down of [true, false]) for (const store of stores) store.down(down)
    },
  }
}

export const memoryBench: AccessBench = {
  database: async () => memoryDatabase(),
  store: (given) => memoryDatabase().store(given),
}
