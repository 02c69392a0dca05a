// The functions of this folder, bound to a connection: what store.ts hands out as StoreReads and StoreWrites.
import type { StoreReads, StoreWrites } from './access.ts'
import type { Db, Tx } from './db.ts'
import { allEnvs, findEnv, markEnvDeleting, putEnv, removeEnv } from './envs.ts'
import { latestCursor, listAudit, listEvents, trimLogs } from './events.ts'
import { finishHeal, getHeal, getHeals, listHealable, nextHealDueMs, postponeHeal, scheduleHeal } from './heals.ts'
import { changeDesired, putMetadata } from './instance-changes.ts'
import { createInstance, findInstance, getInstance, listEnvInstances, listInstances, listTransitions, purgeInstances } from './instances.ts'
import { checkLease } from './lease.ts'
import { allNodes, closeSession, expireSessions, findNode, openSession, setCordon } from './nodes.ts'
import { recordObserved } from './observed.ts'
import { createOrg } from './orgs.ts'
import { desiredByIds, desiredOfNode, listUnplaced, markLost, placeInstance, refuseInstance } from './placement.ts'

export const readsOf = (db: Db): StoreReads => ({
  getInstance: (id) => getInstance(db, id),
  findInstance: (ref, scope) => findInstance(db, ref, scope),
  listInstances: (query) => listInstances(db, query),
  listEnvInstances: (envId) => listEnvInstances(db, envId),
  listTransitions: (id) => listTransitions(db, id),
  listUnplaced: (limit, after, among) => listUnplaced(db, limit, after, among),
  desiredOfNode: (nodeId) => desiredOfNode(db, nodeId),
  desiredByIds: (ids) => desiredByIds(db, ids),
  allNodes: () => allNodes(db),
  findNode: (ref) => findNode(db, ref),
  listHealable: (limit) => listHealable(db, limit),
  getHeal: (id) => getHeal(db, id),
  getHeals: (ids) => getHeals(db, ids),
  nextHealDueMs: () => nextHealDueMs(db),
  allEnvs: () => allEnvs(db),
  findEnv: (ref, scope) => findEnv(db, ref, scope),
  listEvents: (query) => listEvents(db, query),
  latestCursor: () => latestCursor(db),
  listAudit: (query) => listAudit(db, query),
})

/** Both: for the functions of this folder it is a Tx, for everybody else a StoreWrites. */
export type BoundTx = Tx & StoreWrites

export const writesOf = (tx: Tx): BoundTx => ({
  ...tx,
  read: readsOf(tx.db),
  createOrg: (org) => createOrg(tx, org),
  createInstance: (given) => createInstance(tx, given),
  changeDesired: (id, decide) => changeDesired(tx, id, decide),
  putMetadata: (id, change) => putMetadata(tx, id, change),
  placeInstance: (id, nodeId) => placeInstance(tx, id, nodeId),
  refuseInstance: (id, refusals, error) => refuseInstance(tx, id, refusals, error),
  markLost: (nodeId) => markLost(tx, nodeId),
  purgeInstances: (beforeMs, limit) => purgeInstances(tx, beforeMs, limit),
  openSession: (hello) => openSession(tx, hello),
  closeSession: (nodeId, epoch) => closeSession(tx, nodeId, epoch),
  expireSessions: () => expireSessions(tx),
  recordObserved: (nodeId, epoch, items) => recordObserved(tx, nodeId, epoch, items),
  setCordon: (nodeId, cordoned) => setCordon(tx, nodeId, cordoned),
  scheduleHeal: (heal) => scheduleHeal(tx, heal),
  postponeHeal: (heal, given) => postponeHeal(tx, heal, given),
  finishHeal: (heal) => finishHeal(tx, heal),
  putEnv: (given) => putEnv(tx, given),
  markEnvDeleting: (id) => markEnvDeleting(tx, id),
  removeEnv: (id) => removeEnv(tx, id),
  trimLogs: (given) => trimLogs(tx, given),
  checkLease: (lease) => checkLease(tx, lease),
})
