// Places what has no node. Decides for a page at a time on one snapshot of the ledger; the store checks each placement again under
// the row lock of the node, so a stale snapshot costs another look, never an oversubscribed node.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { EnvId, InstanceId } from '../../contracts/ids.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { loadsOf } from '../scheduler/ask.ts'
import { type Placed, placeAll } from '../scheduler/place.ts'
import type { LoopsDeps } from './deps.ts'
import type { Loop, Pass, Turn } from './runner.ts'

const PAGE = 200
/** Placements of one transaction: the event log is locked once for them. */
const BATCH = 50
const RACE_RETRY_MS = 200

type Deps = Pick<LoopsDeps, 'store' | 'clock' | 'log' | 'config'>

export function schedulerLoop(deps: Deps): Loop {
  return {
    name: 'scheduler',
    resyncMs: deps.config.resyncMs,
    gapMs: 20,
    cares: ({ kind }) => kind === 'instance' || kind === 'node',
    pass: (turn) => pass(deps, turn),
  }
}

async function pass(deps: Deps, turn: Turn): Promise<Result<Pass, Failure>> {
  const { signal } = turn
  const startMs = deps.clock.elapsedMs()
  const total = { placed: 0, refused: 0, raced: 0 }
  let after: InstanceId | undefined
  while (!signal.aborted) {
    const page = await deps.store.read.listUnplaced(PAGE, after)
    if (!page.ok) return page
    after = page.value.at(-1)?.id
    if (after === undefined) break
    const decided = await decide(deps, page.value)
    if (!decided.ok) return decided
    for (let from = 0; from < decided.value.length && !signal.aborted; from += BATCH) {
      const written = await write(turn, decided.value.slice(from, from + BATCH))
      if (!written.ok) return written
      total.placed += written.value.placed
      total.refused += written.value.refused
      total.raced += written.value.raced
    }
    if (page.value.length < PAGE) break
  }
  if (total.placed + total.refused > 0)
    deps.log.info('instances placed', {
      placed: total.placed,
      refused: total.refused,
      duration_ms: Math.round(deps.clock.elapsedMs() - startMs),
    })
  return ok({ againMs: total.raced > 0 ? RACE_RETRY_MS : null })
}

async function decide(deps: Deps, instances: readonly InstanceRecord[]): Promise<Result<readonly Placed[], Failure>> {
  const nodes = await deps.store.read.allNodes()
  if (!nodes.ok) return nodes
  const siblings: InstanceRecord[] = []
  for (const envId of new Set(instances.flatMap((instance): EnvId[] => (instance.membership ? [instance.membership.envId] : [])))) {
    const members = await deps.store.read.listEnvInstances(envId)
    if (!members.ok) return members
    siblings.push(...members.value)
  }
  return ok(placeAll(instances, loadsOf(nodes.value, siblings, deps.clock.wallMs())))
}

interface Written {
  readonly placed: number
  readonly refused: number
  /** Decided on a ledger that was out of date. */
  readonly raced: number
}

async function write(turn: Turn, decided: readonly Placed[]): Promise<Result<Written, Failure>> {
  const news = decided.filter((one) => !isKnownRefusal(one))
  if (news.length === 0) return ok({ placed: 0, refused: 0, raced: 0 })
  const together = await writeTogether(turn, news)
  if (together.ok || !isRace(together.error)) return together
  // One of them lost a race and took the others with it: each by itself, and what remains at the next look.
  let sum: Written = { placed: 0, refused: 0, raced: 0 }
  for (const one of news) {
    const alone = await writeTogether(turn, [one])
    if (!alone.ok && !isRace(alone.error)) return alone
    const { placed, refused, raced } = alone.ok ? alone.value : { placed: 0, refused: 0, raced: 1 }
    sum = { placed: sum.placed + placed, refused: sum.refused + refused, raced: sum.raced + raced }
  }
  return ok(sum)
}

const isRace = (error: Failure) => error.code === 'node_full' || error.code === 'not_found'

function writeTogether({ write }: Turn, decided: readonly Placed[]): Promise<Result<Written, Failure>> {
  return write('system:scheduler', async (tx) => {
    let [placed, refused] = [0, 0]
    for (const { instance, placement } of decided) {
      if (placement.kind === 'placed') {
        const outcome = await tx.placeInstance(instance.id, placement.nodeId)
        if (!outcome.ok) return outcome
        if (outcome.value) placed += 1
        continue
      }
      const error = { code: 'no_node' as const, detail: placement.summary, atMs: tx.nowMs }
      const outcome = await tx.refuseInstance(instance.id, placement.refusals, error)
      if (!outcome.ok) return outcome
      refused += 1
    }
    return ok({ placed, refused, raced: 0 })
  })
}

/** The same nodes refuse by the same rules as last time: nothing to write. */
function isKnownRefusal({ instance, placement }: Placed): boolean {
  if (placement.kind === 'placed' || instance.phase.reason !== 'no_node') return false
  const names = (refusals: InstanceRecord['refusals']) =>
    refusals
      .map((refusal) => `${refusal.nodeId} ${refusal.refusedBy}`)
      .sort()
      .join()
  return names(instance.refusals) === names(placement.refusals)
}
