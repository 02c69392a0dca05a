// What the world itself knows of a simulation: every runtime object that ever was and who ended it, every wish that was committed, what
// each agent has heard and written down. The invariants are checked against this, at the very moment something happens; nothing here
// asks the parts under test what they think.
import { createHash } from 'node:crypto'
import type { Wanted } from '../../src/agent/drivers/driver.ts'
import type { FakeChange, FakeObject } from '../../src/agent/drivers/fake/fake-world.ts'
import type { InstanceRecord as AgentRecord, JournalLine } from '../../src/agent/model/record.ts'
import type { LogFields } from '../../src/base/log.ts'
import type { Desired } from '../../src/contracts/agent-protocol.ts'
import type { InstanceId, NodeId } from '../../src/contracts/ids.ts'
import type { SimTime } from './clock.ts'
import type { SimNode } from './node.ts'

export interface Violation {
  readonly atMs: number
  readonly step: number
  readonly invariant: string
  readonly detail: string
}

export interface ObjectNote {
  readonly node: SimNode
  readonly object: FakeObject
  readonly startedMs: number
  endedBy: 'us' | 'the world' | null
}

type Heard = Pick<Desired, 'generation' | 'want'>

/** One line of one log, as the checks need it. */
export interface Line {
  readonly node: SimNode | null
  readonly level: string
  readonly component: string
  readonly msg: string
  readonly fields: LogFields
}

/** Who looks at what has just happened. */
export interface Watcher {
  started?(note: ObjectNote): void
  ended?(note: ObjectNote): void
  startAsked?(node: SimNode, want: Wanted): void
  startAnswered?(node: SimNode, want: Wanted): void
  stopAsked?(node: SimNode, object: FakeObject): void
  removeAsked?(node: SimNode, object: FakeObject): void
  paused?(note: ObjectNote, paused: boolean): void
  journalled?(node: SimNode, line: JournalLine, before: AgentRecord | undefined): void
  said?(line: Line): void
  agentEnded?(node: SimNode): void
  journalLost?(node: SimNode, id: InstanceId): void
}

const KEPT_LINES = 100_000

export class Ledger {
  readonly violations: Violation[] = []
  /** Of each instance, those that have not ended. */
  readonly live = new Map<InstanceId, Set<ObjectNote>>()
  readonly watchers: Watcher[] = []
  readonly #time: SimTime
  readonly #notes = new Map<FakeObject, ObjectNote>()
  /** What the present life of an agent was told. */
  readonly #heard = new Map<NodeId, Map<InstanceId, Heard>>()
  readonly #records = new Map<NodeId, Map<InstanceId, AgentRecord>>()
  readonly #lastHeard = new Map<NodeId, string>()
  readonly #hash = createHash('sha256')
  readonly #lines: string[] = []
  /** Nonces of all that ever ran. */
  readonly started = new Set<string>()
  #world = 0

  constructor(time: SimTime) {
    this.#time = time
  }

  /** One line of history; two runs of one seed write the same. */
  trace(text: string): void {
    const line = `${this.#time.nowMs.toFixed(3)} ${text}`
    this.#hash.update(line)
    this.#lines.push(line)
    if (this.#lines.length > 2 * KEPT_LINES) this.#lines.splice(0, KEPT_LINES)
  }

  get lines(): readonly string[] {
    return this.#lines
  }

  /** Of the whole history; ends the ledger. */
  digest(): string {
    return this.#hash.digest('hex').slice(0, 16)
  }

  violate(invariant: string, detail: string): void {
    this.trace(`VIOLATION ${invariant}: ${detail}`)
    this.violations.push({ atMs: this.#time.nowMs, step: this.#time.events, invariant, detail })
  }

  /** What happens in here is nobody's fault but the world's. */
  byTheWorld<T>(run: () => T): T {
    this.#world += 1
    try {
      return run()
    } finally {
      this.#world -= 1
    }
  }

  liveOf(id: InstanceId): readonly ObjectNote[] {
    return [...(this.live.get(id) ?? [])]
  }

  /** What the node has on its disk of the instance. */
  recordOf(node: SimNode, id: InstanceId): AgentRecord | undefined {
    return this.#records.get(node.nodeId)?.get(id)
  }

  recordsOf(node: SimNode): ReadonlyMap<InstanceId, AgentRecord> {
    return this.#records.get(node.nodeId) ?? new Map()
  }

  heardOf(node: SimNode, id: InstanceId): Heard | undefined {
    return this.#heard.get(node.nodeId)?.get(id)
  }

  objectChanged(node: SimNode, object: FakeObject, change: FakeChange): void {
    const { id, incarnation } = object.want
    const byWorld = this.#world > 0
    this.trace(`${node.nodeId} object ${id}/${incarnation} ${change}${byWorld ? ' by the world' : ''}`)
    if (change === 'started') {
      const note: ObjectNote = { node, object, startedMs: this.#time.nowMs, endedBy: null }
      this.#notes.set(object, note)
      this.started.add(object.want.nonce)
      const live = this.live.get(id) ?? new Set()
      this.live.set(id, live)
      live.add(note)
      if (!byWorld) for (const watcher of this.watchers) watcher.started?.(note)
      return
    }
    const note = this.#notes.get(object)
    if (!note) return
    if (change === 'exit') {
      note.endedBy = byWorld ? 'the world' : 'us'
      this.live.get(id)?.delete(note)
      for (const watcher of this.watchers) watcher.ended?.(note)
    }
    if (!byWorld && (change === 'paused' || change === 'resumed'))
      for (const watcher of this.watchers) watcher.paused?.(note, change === 'paused')
  }

  startAsked(node: SimNode, want: Wanted): void {
    this.trace(`${node.nodeId} asks to start ${want.id}/${want.incarnation}`)
    for (const watcher of this.watchers) watcher.startAsked?.(node, want)
  }

  startAnswered(node: SimNode, want: Wanted): void {
    for (const watcher of this.watchers) watcher.startAnswered?.(node, want)
  }

  stopAsked(node: SimNode, object: FakeObject): void {
    this.trace(`${node.nodeId} asks to stop ${object.want.id}/${object.want.incarnation}`)
    for (const watcher of this.watchers) watcher.stopAsked?.(node, object)
  }

  removeAsked(node: SimNode, object: FakeObject): void {
    this.trace(`${node.nodeId} asks to remove ${object.want.id}/${object.want.incarnation}`)
    for (const watcher of this.watchers) watcher.removeAsked?.(node, object)
  }

  journalled(node: SimNode, id: InstanceId, line: JournalLine): void {
    const { record, transitions } = line
    const steps = transitions.map(({ seq, from, to }) => `${seq} ${from} > ${to.kind} ${to.reason}`).join(', ')
    this.trace(`${node.nodeId} writes ${id} g${record.desired.generation} ${record.phase.kind} ${record.incarnation} [${steps}]`)
    const records = this.#records.get(node.nodeId) ?? new Map<InstanceId, AgentRecord>()
    this.#records.set(node.nodeId, records)
    const before = records.get(id)
    for (const watcher of this.watchers) watcher.journalled?.(node, line, before)
    records.set(id, record)
  }

  /** The directory of the instance is gone. */
  forgotten(node: SimNode, id: InstanceId): void {
    this.trace(`${node.nodeId} forgets ${id}`)
    this.#records.get(node.nodeId)?.delete(id)
  }

  /** The world took it, while no agent was there. */
  journalLost(node: SimNode, id: InstanceId): void {
    this.forgotten(node, id)
    for (const watcher of this.watchers) watcher.journalLost?.(node, id)
  }

  agentBegan(node: SimNode): void {
    this.trace(`${node.nodeId} agent ${node.lives} begins`)
    this.#heard.set(node.nodeId, new Map())
    this.#lastHeard.delete(node.nodeId)
  }

  agentEnded(node: SimNode): void {
    this.trace(`${node.nodeId} agent ${node.lives} killed`)
    for (const watcher of this.watchers) watcher.agentEnded?.(node)
  }

  agentHeard(node: SimNode, text: string): void {
    if (!text.startsWith('{"type":"welcome"') && !text.startsWith('{"type":"desired"')) return
    // The whole set is said again and again.
    if (this.#lastHeard.get(node.nodeId) === text) return
    this.#lastHeard.set(node.nodeId, text)
    const heard = this.#heard.get(node.nodeId)
    const { items } = JSON.parse(text) as { readonly items: readonly Desired[] }
    for (const { id, generation, want } of items) if (generation > (heard?.get(id)?.generation ?? 0)) heard?.set(id, { generation, want })
  }

  said(node: SimNode | null, level: string, component: string, msg: string, fields: LogFields): void {
    if (level === 'info' && !msg.startsWith('vm recovery') && !msg.includes('recovery')) return
    const text = Object.entries(fields).filter(([key]) => key !== 'stack')
    this.trace(`${node?.nodeId ?? 'control'} says ${level} ${msg} ${text.map(([key, value]) => `${key}=${value}`).join(' ')}`)
    for (const watcher of this.watchers) watcher.said?.({ node, level, component, msg, fields })
  }
}
