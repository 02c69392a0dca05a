// Rows that nearly every test of the store begins with.

import { systemClock, systemRandom } from '../../src/base/system.ts'
import type { Observed, Transition } from '../../src/contracts/agent-protocol.ts'
import { type InstanceId, NodeId, newId, type OrgId } from '../../src/contracts/ids.ts'
import { Phase } from '../../src/contracts/phase.ts'
import { type InstanceRecord, NOTHING_OBSERVED } from '../../src/control/model/instance.ts'
import type { StoreAccess } from '../../src/control/store/access.ts'
import type { NewInstance } from '../../src/control/store/desired-fold.ts'
import type { Mutation } from '../../src/control/store/mutation.ts'
import { factsOf, phaseOf, SLEEPER, specOf, USAGE } from './control-records.ts'
import { must } from './stores.ts'

/** Ids of instances begin with the millisecond; made by this one they come in the order in which they were made, however fast that is. */
const inOrder = (() => {
  let lastMs = 0
  const wallMs = () => {
    lastMs = Math.max(lastMs + 1, systemClock.wallMs())
    return lastMs
  }
  return { ...systemClock, wallMs }
})()

export async function seedOrg(store: StoreAccess, name = 'acme'): Promise<OrgId> {
  const id = newId.org(systemClock, systemRandom)
  must(await store.write('system:test', (tx) => tx.createOrg({ id, name })))
  return id
}

/** A wish of a person, with a key under which it may be repeated. */
export const mutationOf = (orgId: OrgId, given: Partial<Mutation> = {}): Mutation => ({
  actor: 'token:tester',
  action: 'createInstance',
  orgId,
  requestId: 'req_1',
  target: 'web',
  idempotency: { scope: 'org token route', key: 'key-00000001', requestHash: 'hash-a' },
  ...given,
})

export function newInstance(orgId: OrgId, given: Partial<NewInstance> = {}): NewInstance {
  const id = given.id ?? newId.instance(inOrder, systemRandom)
  return {
    id,
    orgId,
    name: `i-${id.slice(-8)}`,
    spec: specOf(SLEEPER),
    input: {},
    labels: {},
    metadata: {},
    membership: null,
    recoveryMode: null,
    ...given,
  }
}

export async function seedInstance(store: StoreAccess, orgId: OrgId, given: Partial<NewInstance> = {}): Promise<InstanceRecord> {
  return must(await store.write('system:test', (tx) => tx.createInstance(newInstance(orgId, given))))
}

/** A node with an open session. */
export async function seedNode(
  store: StoreAccess,
  id = 'node-a',
  given: Parameters<typeof factsOf>[0] = {},
): Promise<{ nodeId: NodeId; epoch: number }> {
  const nodeId = NodeId.parse(id)
  const hello = { nodeId, bootId: `boot-${id}`, facts: factsOf(given), usage: USAGE, replica: store.replica }
  const { epoch } = must(await store.write('system:test', (tx) => tx.openSession(hello)))
  return { nodeId, epoch }
}

export async function seedPlaced(
  store: StoreAccess,
  orgId: OrgId,
  nodeId: NodeId,
  given: Partial<NewInstance> = {},
): Promise<InstanceRecord> {
  const made = await seedInstance(store, orgId, given)
  const placed = must(await store.write('system:test', (tx) => tx.placeInstance(made.id, nodeId)))
  if (placed === null) throw new Error('was not placed')
  return placed
}

export function observedOf(id: InstanceId, given: Partial<Observed> = {}): Observed {
  return {
    id,
    generation: 2,
    incarnation: 1,
    phase: phaseOf('running', { reason: 'verified' }),
    ...NOTHING_OBSERVED,
    health: 'healthy',
    pid: 42,
    transitions: [],
    ...given,
  }
}

export function transitionOf(seq: number, from: Transition['from'], to: Phase['kind'], given: Partial<Transition> = {}): Transition {
  const whole = {
    kind: to,
    reason: 'requested',
    sinceMs: 0,
    attempt: 0,
    lastError: null,
    nextAttemptAtMs: 0,
    exit: null,
    untilMs: 0,
    towards: 'stopped',
  }
  return { seq, atMs: seq * 1000, from, to: Phase.parse(whole), incarnation: 1, exit: null, ...given }
}
