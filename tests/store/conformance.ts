// What every store must do, whichever it is.
import type { AccessBench } from '../support/store-bench.ts'
import { envSuite } from './conformance-envs.ts'
import { eventSuite } from './conformance-events.ts'
import { healSuite } from './conformance-heals.ts'
import { instanceSuite } from './conformance-instances.ts'
import { mutationSuite } from './conformance-mutations.ts'
import { nodeSuite } from './conformance-nodes.ts'
import { observedSuite } from './conformance-observed.ts'
import { placementSuite } from './conformance-placement.ts'
import { sessionSuite } from './conformance-sessions.ts'

const SUITES = [instanceSuite, placementSuite, observedSuite, healSuite, sessionSuite, nodeSuite, envSuite, eventSuite, mutationSuite]

export function storeConformance(bench: AccessBench): void {
  for (const suite of SUITES) suite(bench)
}
