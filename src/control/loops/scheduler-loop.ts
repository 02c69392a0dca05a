// Places what has no node. Decides for a page at a time on one snapshot of the ledger; the store checks each placement again under
// the row lock of the node, so a stale snapshot costs another look, never an oversubscribed node.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { type EnvId, InstanceId } from '../../contracts/ids.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { NodeRecord } from '../model/node.ts'
import { loadsOf } from '../scheduler/ask.ts'
import { type Placed, placeAll } from '../scheduler/place.ts'
import { addGrounds, NO_GROUNDS, toLookAt, type Waiting } from '../scheduler/waiting.ts'
import type { LoopsDeps } from './deps.ts'
import type { Loop, Pass, Turn } from './runner.ts'

const PAGE = 200
/** Placements of one transaction: the event log is locked once for them. */
const BATCH = 50
const RACE_RETRY_MS = 200

type Deps = Pick<LoopsDeps, 'store' | 'clock' | 'log' | 'config'>

interface Memory {
  /** null = not known: look at everything. */
  waiting: Waiting | null
}

export function schedulerLoop(deps: Deps): Loop {
  const memory: Memory = { waiting: null }
  return {
    name: 'scheduler',
    resyncMs: deps.config.resyncMs,
    gapMs: 20,
    cares: ({ kind }) => kind === 'instance' || kind === 'node',
    pass: (turn) => pass(deps, memory, turn),
    reset: () => {
      memory.waiting = null
    },
  }
}

async function pass(deps: Deps, memory: Memory, turn: Turn): Promise<Result<Pass, Failure>> {
  const startMs = deps.clock.elapsedMs()
  const { waiting } = memory
  // Until this pass has come to its end.
  memory.waiting = null
  const changed = changedIn(turn.changes)
  // Nobody waits, so it does not matter what the nodes could take: no query for that.
  const asked = waiting?.any === false && changed !== null ? null : await deps.store.read.allNodes()
  if (asked?.ok === false) return asked
  const nodes = asked?.value ?? []
  const among = toLookAt(waiting, changed, nodes)
  const looked = await lookAt(deps, turn, among, asked === null ? null : nodes)
  if (!looked.ok) return looked
  const { placed, refused, raced, left } = looked.value
  const all = among === null || waiting === null
  const grounds = [nodes, ...looked.value.nodes].reduce(addGrounds, all ? NO_GROUNDS : waiting.grounds)
  // What was refused beside what was placed was refused on grounds that no read has shown; the first to wait, on grounds not kept.
  const unclear = raced > 0 || turn.signal.aborted || (left > 0 && (placed > 0 || !(all || waiting.any)))
  if (!unclear) memory.waiting = { grounds, any: left > 0 || (!all && waiting.any) }
  if (placed + refused > 0)
    deps.log.info('instances placed', { placed, refused, duration_ms: Math.round(deps.clock.elapsedMs() - startMs) })
  return ok({ againMs: raced > 0 ? RACE_RETRY_MS : null })
}

/** The instances among the changes; null = anything. */
function changedIn(changes: Turn['changes']): readonly InstanceId[] | null {
  if (changes === null || changes.some(({ kind }) => kind === 'node')) return null
  return changes.filter(({ kind }) => kind === 'instance').map(({ id }) => InstanceId.parse(id))
}

interface Looked extends Written {
  /** How many no node took. */
  readonly left: number
  /** The nodes as each decision saw them. */
  readonly nodes: readonly (readonly NodeRecord[])[]
}

/**
 * `known`: the nodes by which it was decided whom to look at; null = they do not matter. Decided by a newer word, a few of those that wait
 * would get room that all of them waited for, the longest first.
 */
async function lookAt(
  deps: Deps,
  turn: Turn,
  among: readonly InstanceId[] | null,
  known: readonly NodeRecord[] | null,
): Promise<Result<Looked, Failure>> {
  const { signal } = turn
  const total = { placed: 0, refused: 0, raced: 0, left: 0 }
  const seen: (readonly NodeRecord[])[] = []
  let after: InstanceId | undefined
  while (!signal.aborted && among?.length !== 0) {
    const page = await deps.store.read.listUnplaced(PAGE, after, among ?? undefined)
    if (!page.ok) return page
    after = page.value.at(-1)?.id
    if (after === undefined) break
    const nodes = known !== null && seen.length === 0 ? ok(known) : await deps.store.read.allNodes()
    if (!nodes.ok) return nodes
    seen.push(nodes.value)
    const decided = await decide(deps, page.value, nodes.value)
    if (!decided.ok) return decided
    total.left += decided.value.filter(({ placement }) => placement.kind !== 'placed').length
    for (let from = 0; from < decided.value.length && !signal.aborted; from += BATCH) {
      const written = await write(turn, decided.value.slice(from, from + BATCH))
      if (!written.ok) return written
      total.placed += written.value.placed
      total.refused += written.value.refused
      total.raced += written.value.raced
    }
    if (page.value.length < PAGE) break
  }
  return ok({ ...total, nodes: seen })
}

async function decide(
  deps: Deps,
  instances: readonly InstanceRecord[],
  nodes: readonly NodeRecord[],
): Promise<Result<readonly Placed[], Failure>> {
  const siblings: InstanceRecord[] = []
  for (const envId of new Set(instances.flatMap((instance): EnvId[] => (instance.membership ? [instance.membership.envId] : [])))) {
    const members = await deps.store.read.listEnvInstances(envId)
    if (!members.ok) return members
    siblings.push(...members.value)
  }
  return ok(placeAll(instances, loadsOf(nodes, siblings, deps.clock.wallMs())))
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
