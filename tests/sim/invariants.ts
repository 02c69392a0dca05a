// What must hold at every moment of a simulation (design, "What must hold"), checked as things happen and against the world's own ledger.
// Nothing of agent/reconcile or control/reconcile is used here: what is checked must not be what is asked.
import type { FakeObject } from '../../src/agent/drivers/fake/fake-world.ts'
import type { InstanceRecord as AgentRecord } from '../../src/agent/model/record.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { Ledger, ObjectNote, Watcher } from './ledger.ts'
import { NODE_MEMORY_BYTES, type SimNode } from './node.ts'
import type { Store } from './store-watch.ts'

/** A process that is there and is what was started. */
const lives = ({ object }: ObjectNote): boolean => object.state !== 'dead' && !object.mismatch && !object.removed

const nameOf = ({ node, object }: ObjectNote): string => `${object.want.id}/${object.want.incarnation} on ${node.nodeId}`

export function objectRules(ledger: Ledger, store: Store): Watcher {
  return {
    started(note) {
      const { id, incarnation } = note.object.want
      const heard = ledger.heardOf(note.node, id)?.want
      if (heard === 'stopped' || heard === 'deleted')
        ledger.violate('nothing wished away is started', `${nameOf(note)} came to life after its agent had heard ${heard}`)
      const others = ledger.liveOf(id).filter((other) => other !== note && lives(other))
      if (others.length > 0) ledger.violate('one live object', `${nameOf(note)} started while ${others.map(nameOf).join(', ')} lives`)
      if (store.deleted.has(id)) ledger.violate('none for a deleted one', `${nameOf(note)} started after its deletion was told`)
      const promisedBytes = [...ledger.live.values()]
        .flatMap((notes) => [...notes])
        .filter((other) => other.node === note.node && lives(other))
        .reduce((sum, other) => sum + other.object.want.spec.memoryBytes, 0)
      if (promisedBytes > NODE_MEMORY_BYTES) ledger.violate('memory', `${note.node.nodeId} runs ${promisedBytes} bytes`)
      const written = ledger.recordOf(note.node, id)
      if (written?.nonce !== note.object.want.nonce)
        ledger.violate('journal before effect', `${id}/${incarnation} runs and ${note.node.nodeId} has not written of it`)
    },
    startAsked(node, want) {
      const written = ledger.recordOf(node, want.id)
      const heard = ledger.heardOf(node, want.id)
      if (written?.nonce !== want.nonce || written.incarnation !== want.incarnation)
        ledger.violate(
          'journal before effect',
          `${node.nodeId} starts ${want.id}/${want.incarnation}, its journal knows ${written?.incarnation}`,
        )
      const stale = heard && heard.generation >= (written?.desired.generation ?? 0) ? heard.want : written?.desired.want
      if (stale === 'stopped' || stale === 'deleted')
        ledger.violate('nothing wished away is started', `${node.nodeId} starts ${want.id}/${want.incarnation}, wished ${stale}`)
    },
  }
}

/** Whose wish it was, and which one the object was started for. */
export function killRules(ledger: Ledger, store: Store): Watcher {
  const asked = new Set<FakeObject>()
  const startedFor = new Map<string, number>()
  const asksForAnEnd = (id: InstanceId, note: FakeObject, generation: number): boolean => {
    const [now, then] = [store.wish(id, generation), store.wish(id, startedFor.get(note.want.nonce) ?? 0)]
    if (!now) return false
    if (now.want === 'stopped' || now.want === 'deleted') return true
    if (!then) return false
    return now.spec !== then.spec || now.restartSeq > then.restartSeq || now.recoverSeq > then.recoverSeq
  }
  const isUnfit = (node: SimNode, record: AgentRecord): boolean => {
    const { reason } = record.phase
    const { spec, id } = record.desired
    const ill = node.fellIll(id) !== undefined
    if (reason === 'unhealthy_restart') return ill && spec.allowDataLoss
    return reason === 'start_failed' && ill && spec.health.some(({ kind }) => kind === 'start')
  }
  return {
    journalled(node, { record, transitions }, before) {
      const { id, generation } = record.desired
      if (!startedFor.has(record.nonce)) startedFor.set(record.nonce, record.attemptGeneration)
      if (before && generation < before.desired.generation)
        ledger.violate('no stale wish', `${node.nodeId} went from generation ${before.desired.generation} of ${id} back to ${generation}`)
      const wish = store.wish(id, generation)
      if (!wish || wish.want !== record.desired.want)
        ledger.violate(
          'no stale wish',
          `${node.nodeId} acts on ${record.desired.want} as generation ${generation} of ${id}; it was ${wish?.want}`,
        )
      if (!transitions.some(({ to }) => to.kind === 'stopping') || record.phase.kind !== 'stopping') return
      const current = ledger.liveOf(id).find((note) => note.node === node && note.object.want.nonce === record.nonce && lives(note))
      if (!current || before?.phase.kind === 'stopping' || isUnfit(node, record)) return
      if (!asksForAnEnd(id, current.object, generation))
        ledger.violate(
          'nothing healthy is killed',
          `${node.nodeId} stops ${nameOf(current)} (${record.phase.reason}), and nobody asked for it`,
        )
    },
    stopAsked(node, object) {
      asked.add(object)
      const { id, nonce, incarnation } = object.want
      const written = ledger.recordOf(node, id)
      const heard = ledger.heardOf(node, id)
      if (object.state === 'dead' || written === undefined) return
      if (written.nonce !== nonce || written.phase.kind === 'stopping' || written.phase.kind === 'stopped') return
      if (heard?.want === 'stopped' || heard?.want === 'deleted') return
      // What it was let go for could not be written; a newer wish does not call back a stop that has begun.
      if (node.disk.refused.has(id)) return
      ledger.violate(
        'nothing healthy is killed',
        `${node.nodeId} stops ${id}/${incarnation}, which it has written as ${written.phase.kind}`,
      )
    },
    ended(note) {
      if (note.endedBy !== 'us' || asked.has(note.object)) return
      if (store.last(note.object.want.id)?.want === 'deleted') return
      ledger.violate('nothing healthy is killed', `${nameOf(note)} was ended, and no stop was asked for`)
    },
    paused(note, paused) {
      const { id } = note.object.want
      const want = ledger.recordOf(note.node, id)?.desired.want
      // A stop lets a frozen process go on, so that it can end.
      if (!paused && asked.has(note.object)) return
      if (paused ? want !== 'paused' : want === 'paused')
        ledger.violate('pauses are wished', `${nameOf(note)} was ${paused ? 'paused' : 'resumed'} by us, wished ${want}`)
    },
  }
}

const ALIVE: ReadonlySet<string> = new Set(['running', 'degraded', 'paused'])
const AT_REST: ReadonlySet<string> = new Set(['stopped', 'deleted', 'completed', 'failed', 'quarantined'])
const ENDED: ReadonlySet<string> = new Set(['recovering', 'crash_looping', 'quarantined', 'completed', 'failed'])

/** An end that is written down has happened; transitions are numbered without a gap. */
export function journalRules(ledger: Ledger): Watcher {
  return {
    journalled(node, { record, transitions }, before) {
      const { id } = record.desired
      const runs = ALIVE.has(record.phase.kind) && transitions.some(({ to }) => ALIVE.has(to.kind))
      if (runs && !ledger.started.has(record.nonce))
        ledger.violate(
          'what runs is what was started',
          `${node.nodeId} wrote ${id}/${record.incarnation} ${record.phase.kind}, which never ran`,
        )
      if (record.episode && AT_REST.has(record.phase.kind))
        ledger.violate('one outcome per episode', `${node.nodeId} wrote ${id} ${record.phase.kind}, and its episode goes on`)
      let seq = before?.seq
      for (const step of transitions) {
        if (seq !== undefined && step.seq <= seq)
          ledger.violate('transitions in order', `${node.nodeId} wrote ${id} ${step.seq} after ${seq}`)
        seq = step.seq
        if (step.from === null || !ALIVE.has(step.from) || !ENDED.has(step.to.kind)) continue
        const note = ledger.liveOf(id).find(({ node: where, object }) => where === node && object.want.incarnation === step.incarnation)
        if (note && note.object.want.nonce === (before ?? record).nonce && lives(note))
          ledger.violate(
            'an end has happened',
            `${node.nodeId} took ${nameOf(note)} for ended (${step.from} > ${step.to.kind}), and it lives`,
          )
      }
      const lost = before?.attempts.at(-1)
      if (
        lost?.error &&
        !record.attempts.some(({ incarnation, error }) => incarnation === lost.incarnation && error !== null) &&
        record.attempts.length < 10
      )
        ledger.violate('evidence is kept', `${node.nodeId} lost the error of ${id}/${lost.incarnation}`)
    },
  }
}

/** A check on the store, from each commit. */
export function commitRules(ledger: Ledger, store: Store, nodes: readonly SimNode[]): void {
  store.excused = (now) => nodes.some(({ nodeId, disk }) => nodeId === now.nodeId && disk.refused.has(now.id))
  store.onCommit((now: InstanceRecord, before: InstanceRecord | undefined) => {
    if (now.deletedAtMs !== null && before?.deletedAtMs === null) {
      const left = ledger.liveOf(now.id).filter(lives)
      if (left.length > 0) ledger.violate('none for a deleted one', `${left.map(nameOf).join(', ')} lives, and its deletion is stored`)
    }
    if (!before) return
    if (now.generation < before.generation)
      ledger.violate('no write is lost', `${now.id} went from generation ${before.generation} to ${now.generation}`)
    // Letting go needs no disk; an agent that is killed before there is room finds what it had written before.
    const unwritten = store.excused(now)
    if (
      !unwritten &&
      now.nodeId === before.nodeId &&
      (now.incarnation < before.incarnation || now.observedGeneration < before.observedGeneration)
    )
      ledger.violate(
        'what was observed never goes back',
        `${now.id}: ${before.incarnation}/g${before.observedGeneration} to ${now.incarnation}/g${now.observedGeneration}`,
      )
    if (now.nodeId !== before.nodeId && before.nodeId !== null) {
      const left = ledger.liveOf(now.id).filter((note) => note.node.nodeId === before.nodeId && lives(note))
      if (left.length > 0) ledger.violate('one live object', `${now.id} was taken from ${before.nodeId}, where it lives`)
    }
  })
}
