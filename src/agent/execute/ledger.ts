// Who holds how much memory on this node. Taking is checked and done in one synchronous step, so the sum of caps never passes
// what is allocatable, in any interleaving. Adoption takes without asking: what runs, runs.
import { OK, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'

export interface Ask {
  readonly memoryBytes: number
  readonly cpuMillis: number
}

export type Admit = (ask: Ask, reservedMemoryBytes: number) => Result<void, Failure>

export interface Ledger {
  /** Ok at once when the instance already holds as much: recovery and re-adoption are never refused. */
  take(id: InstanceId, ask: Ask): Result<void, Failure>
  adopt(id: InstanceId, ask: Ask): void
  release(id: InstanceId): void
  readonly reservedMemoryBytes: number
}

export function createLedger(admit: Admit): Ledger {
  const held = new Map<InstanceId, Ask>()
  let sumBytes = 0
  const set = (id: InstanceId, ask: Ask) => {
    sumBytes += ask.memoryBytes - (held.get(id)?.memoryBytes ?? 0)
    held.set(id, ask)
  }
  return {
    take(id, ask) {
      const own = held.get(id)
      if (own && own.memoryBytes >= ask.memoryBytes) {
        set(id, ask)
        return OK
      }
      const admitted = admit(ask, sumBytes - (own?.memoryBytes ?? 0))
      if (admitted.ok) set(id, ask)
      return admitted
    },
    adopt: set,
    release(id) {
      sumBytes -= held.get(id)?.memoryBytes ?? 0
      held.delete(id)
    },
    get reservedMemoryBytes() {
      return sumBytes
    },
  }
}
