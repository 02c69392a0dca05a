// garbage(facts) -> what may be collected, and since when each has been garbage. Pure and total.
//
// What it never names: an object without our whole mark or that is not what was started; anything of a runtime that does not answer or
// whose listing may miss something; an object of an instance to which something is being done; the living object of a known instance.
// What it names is due only when it has been garbage without a break for the grace, by a clock that never jumps: an outage, a failed or
// partial listing, a restart of the agent, or a moment in which it was no garbage begins the grace anew.
import { durationText } from '../../base/duration-text.ts'
import type { GarbageReason } from '../../contracts/garbage.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { Candidate, Choice, GarbageFacts, GarbageObject, KnownInstance, RuntimeView } from '../model/garbage.ts'

/** Evidence of this many incarnations is kept, whatever their age, until its retention is over. */
export const INCARNATIONS_KEPT = 3

type Found = Omit<Candidate, 'ageMs' | 'due' | 'dueInMs'> & { readonly held?: true; readonly graceMs?: number; readonly ageMs?: number }

export function garbage(facts: GarbageFacts): Choice {
  const found = [...unknownInstances(facts), ...objects(facts), ...keptLogs(facts), ...evidence(facts), ...images(facts)]
  const since = new Map(found.map(({ key }) => [key, facts.since.get(key) ?? facts.elapsedMs]))
  const candidates = found.map((one) => aged(one, facts.elapsedMs - (since.get(one.key) ?? facts.elapsedMs), facts.config.graceMs))
  return { candidates: candidates.toSorted((a, b) => Number(b.due) - Number(a.due) || b.ageMs - a.ageMs), since }
}

/** How many may be collected at once. */
export const dueNow = ({ candidates }: Choice, max: number): readonly Candidate[] => candidates.filter(({ due }) => due).slice(0, max)

function aged({ held, graceMs, ageMs, ...one }: Found, garbageForMs: number, configuredMs: number): Candidate {
  const leftMs = Math.max(0, (graceMs ?? configuredMs) - garbageForMs)
  return { ...one, ageMs: ageMs ?? garbageForMs, due: !held && leftMs === 0, dueInMs: held ? null : leftMs }
}

const trusted = ({ runtimes }: GarbageFacts): readonly RuntimeView[] => runtimes.filter((view) => view.trusted)

/** Instances of which only this node knows: a wish for them is not to be expected any more. */
function unknownInstances(facts: GarbageFacts): readonly Found[] {
  const unknown = facts.unknownToControl
  if (unknown === null) return []
  const views = new Map(trusted(facts).map((view) => [view.runtime, view]))
  const mine = facts.instances.filter(({ phase }) => phase !== 'deleted')
  const count = mine.filter(({ id }) => unknown.has(id)).length
  // A control plane that lacks most of what it had wished has lost its memory, not its wishes.
  const held = count * 2 > mine.length && !facts.releaseUnknown
  return mine.flatMap(({ id, runtime, busy }): Found[] => {
    const view = views.get(runtime)
    if (!unknown.has(id) || view === undefined || busy) return []
    const detail = held
      ? `The control plane does not know it, but it lacks ${count} of the ${mine.length} instances of this node: it may have lost its memory.`
      : 'This node has it, and the control plane does not know it.'
    return [
      {
        key: `unknown ${view.series} ${id}`,
        kind: 'stray',
        reason: 'unknown_to_control',
        target: { what: 'instance', runtime, series: view.series, id },
        detail,
        bytes: null,
        ...(held && { held }),
      },
    ]
  })
}

/** Fewer living strays than this are strays, and no sign that a memory was lost. */
const MANY_STRAYS = 3

/** Why living objects of nobody are left: they and those of instances unknown to the control plane are most of what lives here. */
function lostMemory(facts: GarbageFacts): string | null {
  if (facts.releaseUnknown) return null
  const known = new Set(facts.instances.map(({ id }) => id))
  const living = trusted(facts).flatMap(({ objects: all }) => all.filter(({ alive, matches }) => alive && matches))
  const unknown = living.filter(({ id }) => !known.has(id) || facts.unknownToControl?.has(id)).length
  if (unknown < MANY_STRAYS || unknown * 2 <= living.length) return null
  return `Nobody knows the instance that it names, but so it is with ${unknown} of the ${living.length} that live on this node: its agent and its control plane may have lost their memory.`
}

function objects(facts: GarbageFacts): readonly Found[] {
  const lost = lostMemory(facts)
  const known = new Map(facts.instances.map((one) => [one.id, one]))
  return trusted(facts).flatMap((view) =>
    view.objects.flatMap((object): Found[] => {
      if (!object.matches) return []
      const instance = known.get(object.id)
      const why = instance ? ofKnown(object, instance, view, facts) : ofNobody(facts)
      if (why === null) return []
      const { id, incarnation, nonce, alive } = object
      const { kind, reason, detail } = why
      const held = lost !== null && reason === 'no_instance' && alive
      return [
        {
          key: `object ${view.runtime} ${view.series} ${id} ${incarnation} ${nonce}`,
          kind,
          reason,
          target: { what: 'object', runtime: view.runtime, series: view.series, id, incarnation, nonce, alive },
          detail: held ? lost : detail,
          bytes: null,
          ...(held && { held }),
        },
      ]
    }),
  )
}

type Why = Pick<Found, 'kind' | 'reason' | 'detail'>
const why = (kind: Found['kind'], reason: GarbageReason, detail: string): Why => ({ kind, reason, detail })

/** Before the control plane has told its wishes, an agent that lost its journals knows nothing of what it runs. */
const ofNobody = ({ unknownToControl }: GarbageFacts): Why | null =>
  unknownToControl === null
    ? null
    : why('stray', 'no_instance', 'It carries the mark of this node, and nobody knows the instance that it names.')

/** At rest in these the runtime object is of no use: the record and the output are the evidence. */
const RESTING: ReadonlySet<PhaseKind> = new Set(['stopped', 'completed', 'failed'])

function ofKnown(object: GarbageObject, instance: KnownInstance, view: RuntimeView, facts: GarbageFacts): Why | null {
  // A runtime that the instance has left is emptied by the move itself.
  if (object.alive || instance.busy || instance.runtime !== view.runtime || object.incarnation > instance.incarnation) return null
  const { evidenceMs } = facts.config
  const old = isOlder(object.endedAtMs, evidenceMs, facts.wallMs)
  if (object.incarnation < instance.incarnation) {
    const recent = instance.incarnation - object.incarnation <= INCARNATIONS_KEPT
    return recent && !old ? null : why('incarnation', 'superseded', `Incarnation ${object.incarnation} of ${instance.incarnation}, ended.`)
  }
  if (!RESTING.has(instance.phase)) return null
  // What failed gives its resources back at once; what rests by somebody's wish may be looked at for as long as evidence is.
  return instance.phase === 'failed' || old
    ? why('zombie', 'ended', `It has ended, its instance is ${instance.phase}, and its output is kept.`)
    : null
}

const isOlder = (atMs: number | null, thanMs: number, wallMs: number): boolean => atMs !== null && wallMs - atMs >= thanMs

/** Only of incarnations without a runtime object, which takes a trusted listing of every runtime. */
function keptLogs(facts: GarbageFacts): readonly Found[] {
  if (facts.runtimes.some((view) => !view.trusted)) return []
  const series = facts.runtimes.map((view) => view.series).join('.')
  const present = new Set(facts.runtimes.flatMap((view) => view.objects.map(({ id, incarnation }) => `${id} ${incarnation}`)))
  const known = new Map(facts.instances.map((one) => [one.id, one]))
  return facts.kept.flatMap((one): Found[] => {
    const { id, incarnation, bytes, atMs } = one
    const instance = known.get(id)
    if (present.has(`${id} ${incarnation}`) || instance?.busy || (instance && incarnation >= instance.incarnation)) return []
    // Of an instance that nobody knows, before the wishes are known, nothing is said.
    if (!instance && facts.unknownToControl === null) return []
    const expired = isOlder(atMs, facts.config.evidenceMs, facts.wallMs)
    const beyond = instance !== undefined && instance.incarnation - incarnation > INCARNATIONS_KEPT
    if (!expired && !beyond) return []
    const reason = expired ? 'expired' : 'superseded'
    const detail = expired
      ? `Output of incarnation ${incarnation}, older than ${durationText(facts.config.evidenceMs)}.`
      : `Output of incarnation ${incarnation}; that of the last ${INCARNATIONS_KEPT} is kept.`
    const key = `logs ${series} ${id} ${incarnation}`
    return [{ key, kind: 'logs', reason, target: { what: 'logs', id, incarnation }, detail, bytes, ageMs: age(atMs, facts) }]
  })
}

const age = (atMs: number, { wallMs }: GarbageFacts): number => Math.max(0, wallMs - atMs)

/** Newest first while there is room; what is beyond it goes, and what is past its retention. */
function evidence(facts: GarbageFacts): readonly Found[] {
  const { evidenceMax, evidenceBytesMax } = facts.limits
  let count = 0
  let total = 0
  return facts.evidence
    .toSorted((a, b) => b.savedAtMs - a.savedAtMs)
    .flatMap(({ id, bytes, savedAtMs }): Found[] => {
      count += 1
      total += bytes
      const expired = isOlder(savedAtMs, facts.config.evidenceMs, facts.wallMs)
      const over = count > evidenceMax || total > evidenceBytesMax
      if (!expired && !over) return []
      const detail = expired
        ? `What was kept of it, for longer than ${durationText(facts.config.evidenceMs)}.`
        : 'More evidence is kept than the node has room for; the oldest goes first.'
      return [
        {
          key: `evidence ${id}`,
          kind: 'evidence',
          reason: expired ? 'expired' : 'over_limit',
          target: { what: 'evidence', id },
          detail,
          bytes,
          ageMs: age(savedAtMs, facts),
          // A bound that waits bounds nothing.
          ...(!expired && { graceMs: 0 }),
        },
      ]
    })
}

function images(facts: GarbageFacts): readonly Found[] {
  const wanted = new Set(facts.instances.flatMap(({ image }) => image ?? []))
  const views = new Set(trusted(facts).map((view) => view.runtime))
  return (facts.images ?? []).flatMap(({ runtime, image, imageId, bytes, pulledAtMs, used }): Found[] => {
    if (used || wanted.has(image) || !views.has(runtime) || facts.unknownToControl === null) return []
    const left = Math.max(0, facts.config.graceMs - age(pulledAtMs, facts))
    return [
      {
        key: `image ${runtime} ${imageId} ${image}`,
        kind: 'image',
        reason: 'unused',
        target: { what: 'image', runtime, image, imageId },
        detail: 'It was fetched for an instance; no container uses it and no instance names it.',
        bytes,
        ageMs: age(pulledAtMs, facts),
        // It is looked at only when somebody asks: how long ago it was fetched is all that is known.
        graceMs: left,
      },
    ]
  })
}

/** Whether a failure of it is recent enough for its output to outlive it. */
export function leavesEvidence(
  record: { readonly attempts: readonly { readonly error: { readonly atMs: number } | null }[]; readonly ends: readonly number[] } & {
    readonly phase: { readonly lastError: { readonly atMs: number } | null }
  },
  wallMs: number,
  evidenceMs: number,
): boolean {
  const moments = [record.phase.lastError?.atMs, ...record.attempts.map(({ error }) => error?.atMs), ...record.ends]
  return moments.some((atMs) => atMs !== undefined && wallMs - atMs < evidenceMs)
}
