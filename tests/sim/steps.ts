// What the store tells of an instance, and what people asked for, each happened, and once: a stored step was taken by an agent or is
// the control plane's own word, and a request that was repeated until it was answered has had its effect once.
import type { JournalLine } from '../../src/agent/model/record.ts'
import type { Transition } from '../../src/contracts/agent-protocol.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { PhaseKind } from '../../src/contracts/phase.ts'
import type { Ledger, Watcher } from './ledger.ts'
import type { SimNode } from './node.ts'
import type { People, VerbName } from './people.ts'
import type { Store } from './store-watch.ts'

type Told = Omit<Transition, 'seq'>

const keyOf = (id: InstanceId, { from, to, incarnation, atMs }: Told): string => `${id}/${incarnation} ${from} > ${to.kind} ${atMs}`

/** In these no agent has spoken; what one says next goes on from where it was. */
const OF_CONTROL: ReadonlySet<PhaseKind> = new Set(['pending', 'placed', 'lost'])

export function stepRules(ledger: Ledger, store: Store): Watcher {
  const taken = new Set<string>()
  store.onStep((id, step) => {
    if (step.from === null || OF_CONTROL.has(step.from) || OF_CONTROL.has(step.to.kind) || taken.has(keyOf(id, step))) return
    ledger.violate('each stored step was taken', `${id}/${step.incarnation}: ${step.from} > ${step.to.kind} is in no journal`)
  })
  return {
    journalled(_node: SimNode, { record, transitions }: JournalLine) {
      for (const step of transitions) taken.add(keyOf(record.desired.id, step))
    },
  }
}

/** Whose requests raise which counter of an instance. */
const RAISED_BY = { restartSeq: ['restart', 'start'], recoverSeq: ['recover'] } as const satisfies Record<string, readonly VerbName[]>

export function requestRules(ledger: Ledger, store: Store, people: People): void {
  store.onCommit((now) => {
    for (const counter of ['restartSeq', 'recoverSeq'] as const) {
      const asked = RAISED_BY[counter].reduce((sum, verb) => sum + people.timesAsked(verb, now.id), 0)
      if (now[counter] > asked)
        ledger.violate('an idempotent request takes effect once', `${now.id}: ${counter} is ${now[counter]}, and ${asked} asked`)
    }
  })
}
