// Finds what the node could not mend, gives it a row of work, and carries out what decideHeal says of each row that is due: under the
// row lock of the instance, in one transaction with the row of work, the event and the audit. So a heal is made exactly as often as
// it is counted, and a person's wish that comes a moment earlier wins.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { ClaimedHeal } from '../model/heal.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { decideHeal, type HealDecision, type HealFacts } from '../reconcile/heal.ts'
import { askOf, loadsOf, type NodeLoad } from '../scheduler/ask.ts'
import { place } from '../scheduler/place.ts'
import type { StoreAccess, StoreReads, StoreWrites } from '../store/access.ts'
import type { LoopsDeps } from './deps.ts'
import { Faults } from './faults.ts'
import type { Loop, Pass, Turn } from './runner.ts'

/** Work scheduled by one transaction. */
const SCAN_BATCH = 200
/** Rows claimed at once: an organisation with a thousand dead instances holds up another's first by at most this many. */
const CLAIM_BATCH = 32
const LEASE_MS = 30_000

type Deps = Pick<LoopsDeps, 'clock' | 'random' | 'log' | 'meter' | 'config'> & {
  readonly store: Pick<StoreAccess, 'claimHeals'> & { readonly read: Pick<StoreReads, 'allNodes' | 'listHealable' | 'nextHealDueMs'> }
}

/** When the next row is due, as of the last full look; undefined = not known. Saves the two queries when nothing can be due. */
interface Memory {
  nextDueMs: number | null | undefined
}

export function healerLoop(deps: Deps): Loop {
  const memory: Memory = { nextDueMs: undefined }
  const faults = new Faults(deps, 'healer')
  return {
    name: 'healer',
    resyncMs: deps.config.resyncMs,
    // Nothing here is due sooner than the safety delay.
    gapMs: 100,
    cares: ({ kind }) => kind === 'instance' || kind === 'heal',
    pass: (turn) => pass(deps, memory, faults, turn),
    reset: () => {
      memory.nextDueMs = undefined
      faults.clear()
    },
  }
}

async function pass(deps: Deps, memory: Memory, faults: Faults, turn: Turn): Promise<Result<Pass, Failure>> {
  const found = await schedule(deps, turn)
  if (!found.ok) return found
  const { nextDueMs } = memory
  const nowMs = deps.clock.wallMs()
  if (turn.changes !== null && found.value === 0 && nextDueMs !== undefined && (nextDueMs === null || nextDueMs > nowMs))
    return ok({ againMs: nextDueMs === null ? null : nextDueMs - nowMs, failing: faults.detail() })
  memory.nextDueMs = undefined
  const given = { nowMs, leaseMs: LEASE_MS, lease: deps.random.text(20), limit: CLAIM_BATCH }
  const claimed = await deps.store.claimHeals(given)
  if (!claimed.ok) return claimed
  if (claimed.value.length > 0) {
    const nodes = await deps.store.read.allNodes()
    if (!nodes.ok) return nodes
    const loads = loadsOf(nodes.value, [], given.nowMs)
    const about = ({ instanceId }: ClaimedHeal) => ({ instance_id: instanceId })
    // What fails, and what is left of a claim, is due again when its lease runs out.
    const healed = await faults.each(claimed.value, turn.signal, about, (work) => healOne(deps, turn, work, loads))
    if (!healed.ok) return healed
  }
  if (found.value === SCAN_BATCH || claimed.value.length === CLAIM_BATCH) return ok({ againMs: 0, failing: faults.detail() })
  const next = await deps.store.read.nextHealDueMs()
  if (!next.ok) return next
  memory.nextDueMs = next.value
  return ok({ againMs: next.value === null ? null : Math.max(0, next.value - deps.clock.wallMs()), failing: faults.detail() })
}

/** Gives failed and lost instances a row of work, due after the safety delay; returns how many. A full batch: there may be more. */
async function schedule({ store, config }: Deps, { write }: Turn): Promise<Result<number, Failure>> {
  const found = await store.read.listHealable(SCAN_BATCH)
  if (!found.ok) return found
  if (found.value.length === 0) return ok(0)
  return write('system:healer', async (tx) => {
    for (const { id, orgId, generation, phase } of found.value) {
      const heal = {
        instanceId: id,
        orgId,
        generation,
        dueAtMs: tx.nowMs + config.heal.safetyDelayMs,
        reason: phase.lastError?.code ?? phase.kind,
      }
      const scheduled = await tx.scheduleHeal(heal)
      if (!scheduled.ok) return scheduled
    }
    return ok(found.value.length)
  })
}

async function healOne(deps: Deps, { write }: Turn, work: ClaimedHeal, loads: readonly NodeLoad[]): Promise<Result<void, Failure>> {
  const { random, config } = deps
  // Drawn outside: the transaction may run twice and must decide the same.
  const fraction = random.fraction()
  let told: { readonly decision: HealDecision; readonly instance: InstanceRecord } | undefined
  const written = await write('system:healer', async (tx) => {
    let decision: HealDecision | undefined
    const changed = await tx.changeDesired(work.instanceId, (instance) => {
      decision = decideHeal(factsOf(instance, work, loads, config.fencedAfterMs, tx.nowMs), config.heal, tx.nowMs, fraction)
      return ok(decision.kind === 'heal' ? { verb: 'heal', heal: true, ...(decision.how === 'replace' && { unplace: true }) } : null)
    })
    if (!changed.ok && changed.error.code !== 'not_found') return changed
    if (!changed.ok || !decision) return held(await tx.finishHeal(work))
    told = { decision, instance: changed.value }
    return record(tx, work, decision, changed.value)
  })
  if (!written.ok) return written.error.code === 'version_conflict' ? ok(undefined) : written
  if (told) tell(deps, work, told.decision, told.instance)
  return ok(undefined)
}

function factsOf(
  instance: InstanceRecord,
  work: ClaimedHeal,
  loads: readonly NodeLoad[],
  fencedAfterMs: number | null,
  nowMs: number,
): HealFacts {
  const own = loads.find((load) => load.node.id === instance.nodeId)?.node
  const nodeConnected = own?.connected === true
  return {
    instance,
    work,
    nodeConnected,
    nodeFenced: !nodeConnected && fencedAfterMs !== null && nowMs - instance.phase.sinceMs >= fencedAfterMs,
    otherNode:
      instance.phase.kind === 'lost' &&
      place(
        askOf(instance),
        loads.filter((load) => load.node.id !== instance.nodeId),
      ).kind === 'placed',
  }
}

/** The row of work, the event and the audit that belong to a decision. */
async function record(
  tx: StoreWrites,
  work: ClaimedHeal,
  decision: HealDecision,
  instance: InstanceRecord,
): Promise<Result<void, Failure>> {
  const about = { orgId: instance.orgId, instanceId: instance.id, nodeId: instance.nodeId }
  const audit = (result: string, attempt: number) =>
    tx.audit({
      action: 'heal',
      orgId: instance.orgId,
      target: instance.id,
      outcome: 'accepted',
      requestId: null,
      data: { result, attempt, cause: decision.because, ...(decision.kind === 'heal' && { how: decision.how }) },
    })
  const { attempts, generation } = work
  switch (decision.kind) {
    case 'heal':
      audit('attempted', decision.attempt)
      return held(
        await tx.postponeHeal(work, {
          dueAtMs: decision.nextDueAtMs,
          attempts: decision.attempt,
          // Being placed anew raises the generation once more, which is no wish of somebody else.
          generation: instance.generation + (decision.how === 'replace' ? 1 : 0),
          givenUp: false,
          lastError: decision.because,
        }),
      )
    case 'wait':
      return held(
        await tx.postponeHeal(work, { dueAtMs: decision.untilMs, attempts, generation, givenUp: false, lastError: work.lastError }),
      )
    case 'give_up':
      if (decision.announce) {
        audit('given_up', attempts)
        tx.emit({ type: 'heal.given_up', ...about, data: { attempts, cause: decision.because } })
      }
      return held(
        await tx.postponeHeal(work, { dueAtMs: decision.untilMs, attempts, generation, givenUp: true, lastError: decision.because }),
      )
    case 'drop':
      if (attempts > 0) audit(decision.outcome, attempts)
      if (decision.outcome === 'succeeded') tx.emit({ type: 'heal.succeeded', ...about, data: { attempts } })
      return held(await tx.finishHeal(work))
  }
}

/** Without the lease nothing of this may happen: somebody else has the row now. */
function held(outcome: Result<boolean, Failure>): Result<void, Failure> {
  if (!outcome.ok) return outcome
  return outcome.value ? ok(undefined) : err(failure('version_conflict', 'Another healer took the row over.'))
}

function tell({ log, config }: Deps, work: ClaimedHeal, decision: HealDecision, instance: InstanceRecord): void {
  const about = { instance_id: instance.id, vm_id: instance.id, cause: decision.because }
  if (decision.kind === 'heal')
    log.info('healing instance', { ...about, attempt: decision.attempt, max_attempts: config.heal.attemptsMax, how: decision.how })
  else if (decision.kind === 'give_up' && decision.announce) log.error('healing given up', { ...about, attempts: work.attempts })
  else if (decision.kind === 'drop' && decision.outcome === 'succeeded') log.info('instance healed', { ...about, attempts: work.attempts })
  else if (decision.kind === 'drop' && work.attempts > 0) log.info('healing cancelled', { ...about, attempts: work.attempts })
  else log.debug('nothing healed', { ...about, decision: decision.kind })
}
