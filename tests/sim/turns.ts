// Who waits for a turn is not passed over: while an instance of one organisation waits for its automatic attempt, those of another begin
// no more of theirs than fit beside each other and take turns with it.
import type { JournalLine } from '../../src/agent/model/record.ts'
import type { InstanceId, OrgId } from '../../src/contracts/ids.ts'
import type { Ledger, Line, Watcher } from './ledger.ts'
import { RECOVERIES_MAX, type SimNode } from './node.ts'

/** Those under way when it came, those whose turn was given and not yet told, and its share of the others. */
const PASSED_MAX = 3 * RECOVERIES_MAX

interface Waiting {
  readonly orgId: OrgId
  passed: number
}

export class Turns implements Watcher {
  readonly #ledger: Ledger
  readonly #waiting = new Map<SimNode, Map<InstanceId, Waiting>>()

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** One that ended for the first time is to be tried at once, and is not looked at before. */
  journalled(node: SimNode, { record }: JournalLine): void {
    const { phase, desired } = record
    const waiting = this.#of(node)
    waiting.delete(desired.id)
    if (phase.kind === 'recovering' && phase.reason === 'process_dead' && phase.nextAttemptAtMs <= phase.sinceMs)
      waiting.set(desired.id, { orgId: desired.orgId, passed: 0 })
  }

  agentEnded(node: SimNode): void {
    this.#waiting.delete(node)
  }

  said({ node, msg, fields }: Line): void {
    if (!node || msg !== 'attempting vm recovery' || fields.trigger !== 'automatic') return
    const orgId = this.#ledger.recordOf(node, fields.instance_id as InstanceId)?.desired.orgId
    const counted = new Set<OrgId>()
    for (const [id, one] of this.#of(node)) {
      // The line of an organisation is its own affair: only the first in it waits for others.
      if (one.orgId === orgId || counted.has(one.orgId)) continue
      counted.add(one.orgId)
      one.passed += 1
      if (one.passed > PASSED_MAX)
        this.#ledger.violate('turns go round the organisations', `${node.nodeId}: ${id} waited while ${one.passed} of another began`)
    }
    // Its own organisation has had a turn.
    for (const one of this.#of(node).values()) if (one.orgId === orgId) one.passed = 0
  }

  #of(node: SimNode): Map<InstanceId, Waiting> {
    const waiting = this.#waiting.get(node) ?? new Map<InstanceId, Waiting>()
    this.#waiting.set(node, waiting)
    return waiting
  }
}
