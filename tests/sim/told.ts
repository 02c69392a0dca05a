// What the agents say is held against what happened: each episode has one outcome, the lines agree with the counters, breakers hold back
// what they should, and nobody speaks of a bug.
import type { InstanceId } from '../../src/contracts/ids.ts'
import { DEFAULT_RELIABILITY } from '../../src/contracts/reliability.ts'
import type { SimTime } from './clock.ts'
import type { Ledger, Line, Watcher } from './ledger.ts'
import { RECOVERIES_MAX, type SimNode } from './node.ts'
import type { Store } from './store-watch.ts'

/** Lines that are only said when the code has met what it took for impossible. */
const BUGS: ReadonlySet<string> = new Set([
  'reconcile failed',
  'message handler failed',
  'check could not be run',
  'check result was not taken',
  'push failed',
  'agent session failed',
  'agent not admitted',
  'link loop failed',
  'change listener failed',
  'journal lines not understood',
  'instance journal not read',
  'message from control not understood',
  'agent message refused',
  'close failed',
  'request failed',
])

const ENDS: Readonly<Record<string, string>> = {
  'vm recovery successful': 'success',
  'vm recovery failed completely': 'failure',
  'recovery cancelled': 'cancelled',
}
/** A turn that was given before the breaker opened is written and told of after it, on a slow disk. */
const UNDER_WAY_MS = 4000
const { instanceEndsMax: INSTANCE_ENDS_MAX, instanceWindowMs: INSTANCE_WINDOW_MS } = DEFAULT_RELIABILITY.breaker
/** Less than the time without checks after which a start counts as proven, for a clock that runs wrong. */
const PROVEN_MS = 900

interface Told {
  readonly open: Set<InstanceId>
  readonly starting: Set<InstanceId>
  /** Those whose quarantine has cooled down to a trial start. */
  readonly trials: Set<InstanceId>
  ends: number
  orphans: number
  attempts: number
  openedAtMs: number
  pausedUntilMs: number
}

const nothing = (): Told => ({
  open: new Set(),
  starting: new Set(),
  trials: new Set(),
  ends: 0,
  orphans: 0,
  attempts: 0,
  openedAtMs: 0,
  pausedUntilMs: 0,
})

export class Voices implements Watcher {
  /** Outcomes of episodes. */
  readonly outcomes = new Map<string, number>()
  readonly #ledger: Ledger
  readonly #time: SimTime
  readonly #store: Store
  readonly #told = new Map<SimNode, Told>()
  readonly #ends = new Map<InstanceId, { atMs: number; generation: number }[]>()

  constructor(ledger: Ledger, time: SimTime, store: Store) {
    this.#ledger = ledger
    this.#time = time
    this.#store = store
  }

  said(line: Line): void {
    const { node, msg, fields } = line
    if (BUGS.has(msg) || fields.error_code === 'internal')
      this.#ledger.violate(
        'no bug is met',
        `${node?.nodeId ?? 'control'}: ${msg}: ${fields.what ?? ''} ${fields.error ?? ''} ${fields.cause ?? ''}`,
      )
    if (!node) return
    const id = fields.instance_id as InstanceId
    const told = this.#of(node)
    const outcome = ENDS[msg]
    if (msg === 'orphaned vm detected') told.orphans += 1
    else if (msg === 'starting vm recovery') this.#begins(node, told, id)
    else if (msg === 'attempting vm recovery') this.#attempts(node, told, id)
    else if (msg === 'recovery breaker opened' && fields.scope === 'node') {
      told.openedAtMs = node.machine.elapsedMs()
      told.pausedUntilMs = told.openedAtMs + Number(fields.pause_ms)
    } else if (msg === 'recovery breaker closed') told.pausedUntilMs = 0
    else if (outcome !== undefined) this.#concludes(node, told, id, outcome)
  }

  journalled(node: SimNode, { record, transitions }: Parameters<NonNullable<Watcher['journalled']>>[1]): void {
    const { kind } = record.phase
    if (transitions.some(({ from }) => from === 'quarantined')) this.#of(node).trials.add(record.desired.id)
    if (kind !== 'preparing' && kind !== 'starting') this.#of(node).starting.delete(record.desired.id)
  }

  /** From here on it is no longer on its way, or its next attempt takes a turn of its own. */
  startAnswered(node: SimNode, { id }: Parameters<NonNullable<Watcher['startAnswered']>>[1]): void {
    this.#of(node).starting.delete(id)
  }

  ended({ object }: Parameters<NonNullable<Watcher['ended']>>[0]): void {
    const { id } = object.want
    const generation = this.#store.last(id)?.generation ?? 0
    this.#ends.set(id, [...(this.#ends.get(id) ?? []), { atMs: this.#time.nowMs, generation }])
  }

  /** The counters of a life agree with what it has said; what it would still have said is lost with it. */
  agentEnded(node: SimNode): void {
    this.checkCounters(node)
    const told = nothing()
    for (const [id, record] of this.#ledger.recordsOf(node)) if (record.episode) told.open.add(id)
    this.#told.set(node, told)
  }

  /** What nobody remembers, nobody ends: the next life begins anew. */
  journalLost(node: SimNode, id: InstanceId): void {
    this.#of(node).open.delete(id)
  }

  checkCounters(node: SimNode): void {
    const told = this.#of(node)
    const meter = node.life?.meter
    if (!meter) return
    const counted = [
      meter.counted('vm_recovery_episodes_total'),
      meter.counted('vm_orphaned_total'),
      meter.counted('vm_recovery_attempts_total'),
    ]
    const said = [told.ends, told.orphans, told.attempts]
    if (counted.join() !== said.join())
      this.#ledger.violate('metrics agree', `${node.nodeId} counted ${counted.join()} and said ${said.join()}`)
  }

  #of(node: SimNode): Told {
    const told = this.#told.get(node) ?? nothing()
    this.#told.set(node, told)
    return told
  }

  #begins(node: SimNode, { open }: Told, id: InstanceId): void {
    if (open.has(id)) this.#ledger.violate('one outcome per episode', `${node.nodeId} began an episode of ${id} within one`)
    open.add(id)
  }

  #attempts(node: SimNode, told: Told, id: InstanceId): void {
    told.attempts += 1
    // The trial start of a quarantine is an episode that nothing announced.
    told.open.add(id)
    const record = this.#ledger.recordOf(node, id)
    // What the disk refuses is further than what is written of it.
    if (record?.attempts.at(-1)?.reason === 'forced' || node.disk.refused.has(id)) return
    told.starting.add(id)
    // What a newer wish has overtaken is let go before that is written.
    const underWay = [...told.starting].filter(
      (one) => (this.#ledger.heardOf(node, one)?.generation ?? 0) <= (this.#ledger.recordOf(node, one)?.desired.generation ?? 0),
    )
    if (underWay.length > RECOVERIES_MAX)
      this.#ledger.violate('recoveries are bounded', `${node.nodeId} has ${underWay.length} on their way`)
    const openForMs = node.machine.elapsedMs() - told.openedAtMs
    if (openForMs > UNDER_WAY_MS && node.machine.elapsedMs() < told.pausedUntilMs - 1)
      this.#ledger.violate('the breaker of a node holds', `${node.nodeId} attempts ${id}`)
    if (told.trials.delete(id)) return
    const generation = record?.attemptGeneration ?? 0
    const ends = (this.#ends.get(id) ?? []).filter(
      (end) => end.generation >= generation && this.#time.nowMs - end.atMs < INSTANCE_WINDOW_MS * 0.95,
    )
    if (ends.length > INSTANCE_ENDS_MAX + 1)
      this.#ledger.violate('the breaker of an instance holds', `${node.nodeId} attempts ${id}, which ended ${ends.length} times`)
  }

  #concludes(node: SimNode, told: Told, id: InstanceId, outcome: string): void {
    told.ends += 1
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
    if (!told.open.delete(id))
      this.#ledger.violate('one outcome per episode', `${node.nodeId} ended an episode of ${id} that it had not begun`)
    told.starting.delete(id)
    if (outcome !== 'success') return
    const record = this.#ledger.recordOf(node, id)
    const object = node.runtime.world.objects.find(({ want }) => want.id === id && want.nonce === record?.nonce)
    if (!object || object.exit?.code === 0) return
    const gated = object.want.spec.health.some(({ kind }) => kind === 'start' || kind === 'ready')
    const proven = gated ? node.passed.has(object) : node.livedMs(object) >= PROVEN_MS
    if (!proven)
      this.#ledger.violate('success is proven', `${node.nodeId} told of a recovery of ${id}/${object.want.incarnation} that nothing proves`)
  }
}
