// What the loops, the agents' link and the verbs of people ask of a store, and nothing else: they take a StoreAccess and cannot tell
// which one they have. There are two: PostgreSQL (store.ts), and the simulator's in memory (tests/sim). One suite, tests/store,
// holds both to the same meaning.
//
// Every implementation promises: a write happens whole or not at all, and what it read under its locks stays true until it ends; the
// event log is one total order without gaps; expected failures are values; `store_unavailable` may mean that a write was committed
// and only its answer was lost.
import type { Result } from '../../base/result.ts'
import type { Desired, Observed, Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { EnvId, InstanceId, NodeId } from '../../contracts/ids.ts'
import type { LastError } from '../../contracts/phase.ts'
import type { Actor } from '../model/actor.ts'
import type { EnvRecord } from '../model/env.ts'
import type { AuditRecord, EventRecord } from '../model/event.ts'
import type { ClaimedHeal, HealRecord } from '../model/heal.ts'
import type { InstanceRecord, NodeRefusal } from '../model/instance.ts'
import type { NodeRecord } from '../model/node.ts'
import type { OrgRecord, OrgScope } from '../model/org.ts'
import type { WriteInProgress } from './db.ts'
import type { DesiredChange, MetadataChange, NewInstance } from './desired-fold.ts'
import type { EnvManifest } from './envs.ts'
import type { EventQuery, Retention } from './events.ts'
import type { HealClaim, NewHeal, PutBack } from './heal-fold.ts'
import type { InstanceQuery } from './instances.ts'
import type { Lease } from './lease.ts'
import type { Mutation, MutationReply, Reply } from './mutation.ts'
import type { Listener } from './notifications.ts'
import type { NewOrg } from './orgs.ts'
import type { Page, PageQuery } from './page.ts'
import type { Heartbeat, Hello } from './session-fold.ts'

type Answer<T> = Promise<Result<T, Failure>>

/** Each function reads one moment; the functions of the same name in this folder say more. */
export interface StoreReads {
  getInstance(id: InstanceId): Answer<InstanceRecord | null>
  findInstance(ref: string, scope: OrgScope): Answer<InstanceRecord>
  listInstances(query: InstanceQuery): Answer<Page<InstanceRecord>>
  listEnvInstances(envId: EnvId): Answer<readonly InstanceRecord[]>
  listTransitions(id: InstanceId): Answer<readonly Transition[]>
  listUnplaced(limit: number, after?: InstanceId, among?: readonly InstanceId[]): Answer<readonly InstanceRecord[]>
  desiredOfNode(nodeId: NodeId): Answer<readonly { readonly desired: Desired; readonly seq: number }[]>
  desiredByIds(ids: readonly InstanceId[]): Answer<readonly { readonly desired: Desired; readonly nodeId: NodeId | null }[]>
  allNodes(): Answer<readonly NodeRecord[]>
  findNode(ref: string): Answer<NodeRecord>
  listHealable(limit: number): Answer<readonly InstanceRecord[]>
  getHeal(id: InstanceId): Answer<HealRecord | null>
  getHeals(ids: readonly InstanceId[]): Answer<ReadonlyMap<InstanceId, HealRecord>>
  nextHealDueMs(): Answer<number | null>
  allEnvs(): Answer<readonly EnvRecord[]>
  findEnv(ref: string, scope: OrgScope): Answer<EnvRecord>
  listEvents(query: EventQuery): Answer<readonly EventRecord[]>
  latestCursor(): Answer<number>
  listAudit(query: PageQuery & { readonly scope: OrgScope }): Answer<Page<AuditRecord>>
}

/** A write in progress. An `err` that is returned from it undoes all of it. */
export interface StoreWrites extends WriteInProgress {
  /** As this write sees it, with what it has changed itself. */
  readonly read: StoreReads
  createOrg(org: NewOrg): Answer<OrgRecord>
  createInstance(given: NewInstance): Answer<InstanceRecord>
  changeDesired(id: InstanceId, decide: (now: InstanceRecord) => Result<DesiredChange | null, Failure>): Answer<InstanceRecord>
  putMetadata(id: InstanceId, change: MetadataChange): Answer<InstanceRecord>
  placeInstance(id: InstanceId, nodeId: NodeId): Answer<InstanceRecord | null>
  refuseInstance(id: InstanceId, refusals: readonly NodeRefusal[], error: LastError): Answer<void>
  markLost(nodeId: NodeId): Answer<readonly InstanceId[]>
  purgeInstances(beforeMs: number, limit: number): Answer<number>
  openSession(hello: Hello): Answer<{ readonly epoch: number }>
  closeSession(nodeId: NodeId, epoch: number): Answer<void>
  expireSessions(): Answer<readonly NodeId[]>
  recordObserved(
    nodeId: NodeId,
    epoch: number,
    items: readonly Observed[],
  ): Answer<readonly { readonly id: InstanceId; readonly seq: number }[]>
  setCordon(nodeId: NodeId, cordoned: boolean): Answer<NodeRecord>
  scheduleHeal(heal: NewHeal): Answer<boolean>
  postponeHeal(heal: ClaimedHeal, given: PutBack): Answer<boolean>
  finishHeal(heal: ClaimedHeal): Answer<boolean>
  putEnv(given: EnvManifest): Answer<{ readonly env: EnvRecord; readonly changed: boolean }>
  markEnvDeleting(id: EnvId): Answer<EnvRecord>
  removeEnv(id: EnvId): Answer<boolean>
  trimLogs(given: Retention): Answer<number>
  checkLease(lease: Pick<Lease, 'name' | 'epoch'>): Answer<void>
}

export interface StoreAccess {
  /** Identifies this process among the replicas of the control plane while it lives; for `openSession`. */
  readonly replica: number
  readonly read: StoreReads
  /**
   * A change asked for by a caller: idempotency key, change, stored reply and audit row in one transaction. Concurrent duplicates
   * wait and get the stored reply. A refusal rolls everything back, is audited, and is not stored under the key.
   * `run` may be called again after a serialization failure, so it must have no effect outside `tx`.
   */
  mutate(mutation: Mutation, run: (tx: StoreWrites) => Answer<MutationReply>): Answer<Reply>
  /** A change by one of our own loops; an `err` rolls back. `run` may be called again, as for `mutate`. */
  write<T>(actor: Actor, run: (tx: StoreWrites) => Answer<T>): Answer<T>
  /** A write of its own: claims due work. */
  claimHeals(given: HealClaim): Answer<readonly ClaimedHeal[]>
  /** A write of its own, for many nodes at once; returns those whose session is still the newest. */
  recordHeartbeats(nowMs: number, beats: readonly Heartbeat[]): Answer<readonly NodeId[]>
  /** Calls `onChange` for each committed change of any replica, and with null ("look at everything again") after a lost connection. */
  listen(onChange: Listener): () => void
  /** Waits until this process holds the named singleton; the epoch rises with every holder. `checkLease` fences its writes. */
  lease(name: string, signal: AbortSignal): Answer<Lease>
}
