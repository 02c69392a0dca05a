// What an agent keeps on its disk for garbage collection, in memory.
import type { Evidence } from '../../src/agent/execute/evidence-files.ts'
import type { Residue } from '../../src/agent/execute/residue.ts'
import type { KeptLogs } from '../../src/agent/model/garbage.ts'
import { OK, ok } from '../../src/base/result.ts'
import type { Collected } from '../../src/contracts/garbage.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'

export interface MemoryResidue extends Residue {
  readonly kept: Map<InstanceId, Evidence>
  logs: readonly KeptLogs[]
  untoldItems: readonly Collected[]
}

export function memoryResidue(): MemoryResidue {
  const residue: MemoryResidue = {
    kept: new Map(),
    logs: [],
    untoldItems: [],
    evidence: {
      keep: async (evidence) => {
        residue.kept.set(evidence.id, evidence)
        return OK
      },
      read: async (id) => ok(residue.kept.get(id) ?? null),
      list: async () => ok([...residue.kept.values()].map(({ id, savedAtMs }) => ({ id, savedAtMs, bytes: 1 }))),
      drop: async (id) => {
        residue.kept.delete(id)
        return OK
      },
    },
    keptLogs: {
      list: async () => ok(residue.logs),
      discard: async (id, incarnation) => {
        residue.logs = residue.logs.filter((one) => one.id !== id || one.incarnation !== incarnation)
        return OK
      },
    },
    untold: {
      load: async () => ok(residue.untoldItems),
      save: async (items) => {
        residue.untoldItems = items
        return OK
      },
    },
  }
  return residue
}
