// Which hooks one transition means. Stateless: the same transition always means the same.
import type { Transition } from '../../contracts/agent-protocol.ts'
import type { Hook } from '../../contracts/hook.ts'
import type { PhaseKind } from '../../contracts/phase.ts'

const ERRORED: ReadonlySet<PhaseKind> = new Set(['recovering', 'crash_looping', 'quarantined', 'failed', 'degraded'])

/** In the order in which they are told. The same state with another error in it is no news. */
export function hooksOf({ from, to }: Pick<Transition, 'from' | 'to'>): readonly Hook[] {
  if (from === to.kind) return []
  const created: readonly Hook[] = from === 'placed' ? ['created'] : []
  return [...created, ...changeOf(from, to.kind)]
}

function changeOf(from: PhaseKind | null, to: PhaseKind): readonly Hook[] {
  if (ERRORED.has(to)) return ['errored']
  switch (to) {
    case 'running':
      // What is well again after failing its checks has not been started.
      return from === 'paused' ? ['resumed'] : from === 'degraded' ? [] : ['started']
    case 'preparing':
      return from === 'stopping' ? ['rebooted'] : []
    case 'paused':
      return ['paused']
    case 'stopped':
    case 'completed':
      return ['stopped']
    case 'deleted':
      return ['deleted']
    default:
      return []
  }
}
