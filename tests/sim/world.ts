// All parts of one simulation, as faults and checks see them.
import type { Chance } from './chance.ts'
import type { SimTime } from './clock.ts'
import type { SimControl } from './control.ts'
import type { Ledger } from './ledger.ts'
import type { MemoryDatabase } from './memory-database.ts'
import type { SimNode } from './node.ts'
import type { People } from './people.ts'
import type { Strangers } from './strangers.ts'

export interface World {
  readonly seed: number
  readonly time: SimTime
  readonly ledger: Ledger
  readonly database: MemoryDatabase
  readonly nodes: readonly SimNode[]
  readonly controls: readonly SimControl[]
  readonly people: People
  readonly strangers: Strangers
  readonly chance: (...names: readonly (string | number)[]) => Chance
  /** What is to be undone at the end, when all faults are over. */
  readonly mend: (() => void)[]
}
