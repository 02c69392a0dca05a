// What garbage collection may collect, and why: the one closed table, because kind and reason are labels of metrics and words of events.
// docs/models/collection.md is the prose.
import { z } from 'zod'

const KINDS = ['stray', 'zombie', 'incarnation', 'logs', 'evidence', 'image', 'instance'] as const
export const GarbageKind = z.enum(KINDS)
export type GarbageKind = z.infer<typeof GarbageKind>

export const GarbageReason = z.enum([
  'no_instance', // nobody knows the instance that its mark names
  'unknown_to_control', // this node has a journal of the instance, the control plane has none
  'ended', // its instance is at rest and nobody reaped it
  'superseded', // of an incarnation before the current one
  'expired', // past its retention
  'over_limit', // more is kept than may be
  'unused', // no container uses it and no instance names it
  'stale_failed', // failed, and given up, for longer than `failed_after`
])
export type GarbageReason = z.infer<typeof GarbageReason>

/** Every pair that can come up, for the metrics that begin at zero. */
export const GARBAGE: readonly { readonly kind: GarbageKind; readonly reason: GarbageReason }[] = [
  { kind: 'stray', reason: 'no_instance' },
  { kind: 'stray', reason: 'unknown_to_control' },
  { kind: 'zombie', reason: 'ended' },
  { kind: 'incarnation', reason: 'superseded' },
  { kind: 'logs', reason: 'superseded' },
  { kind: 'logs', reason: 'expired' },
  { kind: 'evidence', reason: 'expired' },
  { kind: 'evidence', reason: 'over_limit' },
  { kind: 'image', reason: 'unused' },
  { kind: 'instance', reason: 'stale_failed' },
]

/** Something that is or was garbage. `id`: the instance, or the name of an image. */
export const GarbageItem = z.object({
  kind: GarbageKind,
  reason: GarbageReason,
  id: z.string(),
  incarnation: z.number().nullable(),
  runtime: z.string().nullable(),
  /** For people: why, in one sentence. */
  detail: z.string(),
  ageMs: z.number(),
  /** What its removal frees; null = the runtime does not tell. */
  bytes: z.number().nullable(),
})
export type GarbageItem = z.infer<typeof GarbageItem>

/** Found, and not collected (yet). */
export const GarbageCandidate = GarbageItem.extend({
  /** The next cycle may collect it. */
  due: z.boolean(),
  /** How long until then; 0 when due, null when it never is by itself. */
  dueInMs: z.number().nullable(),
})
export type GarbageCandidate = z.infer<typeof GarbageCandidate>

/** One deletion that has happened. `key` is its own: told twice, it counts once. */
export const Collected = GarbageItem.extend({ key: z.string(), atMs: z.number() })
export type Collected = z.infer<typeof Collected>

/** What one node answers. */
export const GarbageReport = z.object({
  candidates: z.array(GarbageCandidate),
  collected: z.array(GarbageItem),
  /** Why something was not looked at or not collected, for people. */
  notes: z.array(z.string()),
})
export type GarbageReport = z.infer<typeof GarbageReport>
