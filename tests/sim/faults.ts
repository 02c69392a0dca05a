// Everything that can go wrong in a simulation, as a closed table: what it is called, how often it comes beside the others, and what it
// does. A fault says whether it had anything to do; those that lie in wait say so later, through `hit`.
import type { Fault } from './fault.ts'
import { CONTROL_FAULTS } from './faults-control.ts'
import { AGENT_FAULTS, NETWORK_FAULTS } from './faults-node.ts'
import { RUNTIME_FAULTS } from './faults-runtime.ts'
import { WORKLOAD_FAULTS } from './faults-workload.ts'

export const FAULTS: Readonly<Record<string, Fault>> = {
  ...WORKLOAD_FAULTS,
  ...RUNTIME_FAULTS,
  ...AGENT_FAULTS,
  ...NETWORK_FAULTS,
  ...CONTROL_FAULTS,
}
