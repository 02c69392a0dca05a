// Guards that are taken out one at a time, to see whether the simulations notice: a mutation that nothing catches is a hole in what they
// check. The source is changed while it is loaded, in a process of its own; nothing on the disk changes and nothing in src knows of it.

import type { Size } from './schedule.ts'

interface Edit {
  /** Below the root of the repository. */
  readonly file: string
  /** Stands there exactly once. */
  readonly from: string
  readonly to: string
}

export interface Mutation {
  readonly name: string
  /** More than one where guards stand behind each other: all have to be out for one to be missed. */
  readonly edits: readonly Edit[]
  /** Where it is met, when that is not everywhere. */
  readonly size?: Partial<Size>
}

const of = (name: string, file: string, ...edits: readonly (readonly [from: string, to: string])[]): Mutation => ({
  name,
  edits: edits.map(([from, to]) => ({ file, from, to })),
})
const both = (name: string, ...guards: readonly Mutation[]): Mutation => ({ name, edits: guards.flatMap(({ edits }) => edits) })

const ORDER = 'src/control/api/wish-order.ts'
const wishOrder = of(
  'order of wishes',
  ORDER,
  ['if (readAt < this.#wholeAt) return []', ''],
  ['(this.#saidAt.get(id) ?? 0) < readAt', 'id !== undefined'],
  ['if (readAt < this.#wholeAt) return null', ''],
  ['return items.filter(({ id }) => !this.#saidAt.has(id))', 'return items'],
)

export const MUTATIONS: readonly Mutation[] = [
  both(
    'generation check of the agent, and order of wishes',
    of('generation check of the agent', 'src/agent/loop/instances.ts', [
      'item.generation > entry.record.desired.generation && item.generation > (entry.wish?.generation ?? 0)',
      'item.generation !== entry.record.desired.generation && !(Object.assign(entry.record, { desired: { ...entry.record.desired, generation: Math.min(item.generation - 1, entry.record.desired.generation) } }), false)',
    ]),
    of('order of wishes', ORDER, ['if (readAt < this.#wholeAt) return null', 'return items']),
  ),
  wishOrder,
  of('each instance once in a write', 'src/control/api/link-observed.ts', ['writeBatch(newestOf(batch))', 'writeBatch(batch)']),
  of('complete-listing check', 'src/agent/loop/scanner.ts', ['if (objects || listed.value.complete)', 'if (objects || listed.ok)']),
  of('no answer is no absence', 'src/agent/observe/look.ts', [
    "{ kind: 'unknown', failure: result.error }",
    "{ kind: 'known', objects: [] }",
  ]),
  of('listing-epoch check', 'src/agent/loop/instances.ts', ['if (!entry || entry.epoch !== epoch) return', 'if (!entry) return']),
  both(
    'breaker of the node',
    of('what waits is told that it does', 'src/agent/loop/gate.ts', [
      "if (breaker.kind === 'open') return {",
      "if (breaker.kind === 'open' && nowMs < 0) return {",
    ]),
    of('no place while it is open', 'src/agent/reconcile/breaker.ts', [
      "case 'open':\n      return 0",
      "case 'open':\n      return concurrencyMax",
    ]),
  ),
  of('breaker of an instance', 'src/agent/reconcile/recover.ts', [' || ends.length > policy.endsMax)', ')']),
  of('bound of recoveries at once', 'src/agent/loop/gate.ts', [
    'return this.#busy(breaker) < slots(breaker, this.#deps.concurrencyMax)',
    'return this.#busy(breaker) < 1000',
  ]),
  {
    ...of('turns of organisations', 'src/agent/loop/gate.ts', ['this.#queue.add(id, orgId)', "this.#queue.add(id, 'one' as typeof orgId)"]),
    size: { nodes: 1, instances: 30 },
  },
  of('verification', 'src/agent/reconcile/running.ts', [
    "const proven = verdict.gated ? verdict.health === 'healthy' : lived",
    'const proven = verdict !== undefined',
  ]),
  of('cancel on delete: the episode', 'src/agent/reconcile/gone.ts', [
    "const { record: closed, notes } = endEpisode(record, facts, 'cancelled')",
    "const { record: closed, notes } = record.episode ? { record, notes: [] } : endEpisode(record, facts, 'cancelled')",
  ]),
  of('cancel on delete: the start under way', 'src/agent/loop/instances.ts', ['if (contradicts(entry, item) || ', 'if (']),
  of('ownership: nonce', 'src/agent/reconcile/moves.ts', [
    '=> object.incarnation === record.incarnation && object.nonce === record.nonce)',
    '=> object.incarnation === record.incarnation)',
  ]),
  of('ownership: pid and start time', 'src/agent/reconcile/running.ts', [
    'if (!current.matches) return',
    'if (!current.matches && facts.nowMs < 0) return',
  ]),
  of('journal before effect', 'src/agent/loop/stepper.ts', [
    'if (!ahead && !(await committed)) return this.#retryLater(entry)',
    'if (!ahead && !committed) return this.#retryLater(entry)',
  ]),
  of('older incarnation stopped first', 'src/agent/reconcile/plan.ts', [
    "if (alive.length > 0) return stopLiving(record, facts, alive, 'an older",
    "if (alive.length > 99) return stopLiving(record, facts, alive, 'an older",
  ]),
  of('allow_data_loss', 'src/agent/reconcile/running.ts', ['policy.allowDataLoss && verdict.reason !== null', 'verdict.reason !== null']),
  of('lost nodes: no copy beside one that may live', 'src/control/loops/deps.ts', ['  fencedAfterMs: null,', '  fencedAfterMs: 1,']),
  of('session-epoch fence', 'tests/sim/memory-agents.ts', [
    'if (rows.nodes.get(nodeId)?.sessionEpoch !== epoch) return err(sessionEnded(nodeId, epoch))',
    '',
  ]),
  of('each transition is stored once', 'src/control/store/observed-fold.ts', [
    '.filter((step) => step.seq > known.lastTransitionSeq)',
    '.filter((step) => step.seq > 0)',
  ]),
  of('idempotency key', 'src/control/store/mutation.ts', [
    'if (known.value !== null) return ok(known.value)',
    'if (known.value !== null && key === null) return ok(known.value)',
  ]),
  of('everything again after a reconnect', 'src/agent/connect.ts', ['reporter.resendAll()\n', '\n']),
  of('acknowledged only when stored', 'src/control/api/link-observed.ts', [
    'if (!told) options.onRetry(written.error)',
    'options.ack(batch.map(({ id, transitions }) => ({ id, seq: transitions.at(-1)?.seq ?? 0 })))\n      if (!told) return true',
  ]),
  of('collection: what is not what was started', 'src/agent/reconcile/garbage.ts', [
    'if (!object.matches) return []',
    'if (object.matches === undefined) return []',
  ]),
  of('collection: the grace', 'src/agent/reconcile/garbage.ts', ['due: !held && leftMs === 0', 'due: !held']),
  of('collection: an outage begins the grace anew', 'src/agent/loop/survey.ts', [
    'listed === null ? before.series + 1 : before.series',
    'before.series',
  ]),
  of('collection: not before the wishes are known', 'src/agent/reconcile/garbage.ts', [
    'unknownToControl === null\n    ? null',
    'unknownToControl === undefined\n    ? null',
  ]),
]
