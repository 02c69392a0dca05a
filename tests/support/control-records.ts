// Records of the control plane for tests: whole and plausible, with only what a test is about given.

import type { NodeFacts, NodeUsage } from '../../src/contracts/agent-protocol.ts'
import { AppId, EnvId, InstanceId, NodeId, OrgId } from '../../src/contracts/ids.ts'
import { NO_MODES } from '../../src/contracts/modes.ts'
import type { Phase } from '../../src/contracts/phase.ts'
import { InstanceInput, type InstanceSpec } from '../../src/contracts/spec.ts'
import { compileSpec } from '../../src/contracts/spec-compile.ts'
import type { EnvRecord } from '../../src/control/model/env.ts'
import type { EnvMembership, InstanceRecord } from '../../src/control/model/instance.ts'
import type { NodeRecord } from '../../src/control/model/node.ts'

const padded = (prefix: string, text: string | number) => `${prefix}_${String(text).padStart(20, '0')}`
export const instanceId = (text: string | number): InstanceId => InstanceId.parse(padded('inst', text))
export const orgId = (text: string | number): OrgId => OrgId.parse(padded('org', text))
const envId = (text: string | number): EnvId => EnvId.parse(padded('env', text))
export const nodeId = (text: string): NodeId => NodeId.parse(text)

export function specOf(input: InstanceInput): InstanceSpec {
  const spec = compileSpec(InstanceInput.parse(input))
  if (!spec.ok) throw new Error(spec.error.detail)
  return spec.value
}

export const SLEEPER: InstanceInput = { runtime: 'fake', command: ['sleep'], memory: '64Mi' }

export function phaseOf(
  kind: 'pending' | 'placed' | 'preparing' | 'starting' | 'running' | 'degraded' | 'paused' | 'failed' | 'lost' | 'deleted',
  given: Partial<Phase> = {},
): Phase {
  return { kind, reason: 'requested', sinceMs: 0, attempt: 0, lastError: null, ...given } as Phase
}

export function instanceOf(given: Partial<InstanceRecord> = {}): InstanceRecord {
  const id = given.id ?? instanceId(1)
  return {
    id,
    orgId: orgId(1),
    name: `i-${id.slice(-6)}`,
    runtime: given.spec?.runtime ?? 'fake',
    membership: null,
    spec: specOf(SLEEPER),
    input: {},
    labels: {},
    metadata: {},
    want: 'running',
    purge: false,
    generation: 1,
    restartSeq: 0,
    recoverSeq: 0,
    healSeq: 0,
    recoveryMode: null,
    checksMode: null,
    envModes: NO_MODES,
    wishGeneration: 1,
    wishedBy: null,
    nodeId: null,
    refusals: [],
    phase: phaseOf('pending', { reason: 'waiting_for_node' }),
    observedGeneration: 0,
    incarnation: 0,
    observed: null,
    lastTransitionSeq: 0,
    version: 1,
    createdAtMs: 0,
    updatedAtMs: 0,
    deletedAtMs: null,
    ...given,
  }
}

export const membershipOf = (given: Partial<EnvMembership> = {}): EnvMembership => ({
  envId: envId(1),
  app: 'shop',
  env: 'prod',
  processType: 'web',
  slot: 0,
  manifestHash: 'sha256:one',
  ...given,
})

export const USAGE: NodeUsage = { atMs: 0, cpuRatio: 0, memoryRatio: 0, diskRatio: 0, reservedMemoryBytes: 0, pressure: [] }

export const factsOf = (given: Partial<NodeFacts> = {}): NodeFacts => ({
  hostname: 'test',
  os: 'linux',
  cores: 4,
  memoryBytes: 8 * 2 ** 30,
  allocatableMemoryBytes: 4 * 2 ** 30,
  allocatableCpuMillis: 16_000,
  labels: {},
  runtimes: [{ runtime: 'fake', usable: true, version: null, detail: '', fix: null, limits: 'none' }],
  agentVersion: '0.0.0',
  ...given,
})

export function nodeOf(
  id: string,
  given: Partial<Omit<NodeRecord, 'facts' | 'usage'>> & { facts?: Partial<NodeFacts>; usage?: Partial<NodeUsage> } = {},
): NodeRecord {
  return {
    id: nodeId(id),
    cordoned: false,
    connected: true,
    lastSeenAtMs: 0,
    sessionEpoch: 1,
    reservedMemoryBytes: 0,
    reservedCpuMillis: 0,
    instances: 0,
    createdAtMs: 0,
    ...given,
    facts: factsOf(given.facts),
    usage: { ...USAGE, ...given.usage },
  }
}

export const envOf = (manifest: Readonly<Record<string, unknown>>, given: Partial<EnvRecord> = {}): EnvRecord => ({
  id: envId(1),
  orgId: orgId(1),
  appId: AppId.parse(padded('app', 1)),
  app: 'shop',
  env: 'prod',
  manifest,
  manifestHash: 'sha256:one',
  deleting: false,
  createdAtMs: 0,
  updatedAtMs: 0,
  ...given,
})
