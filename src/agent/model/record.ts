// What the agent keeps of one instance: the wish, the state machine's place, and the counters recovery decides by.
// Every change of it is journalled before anybody hears of it. The schema stands here, not in contracts: no other process reads the journal.
import { z } from 'zod'
import { Desired, Transition } from '../../contracts/agent-protocol.ts'
import { Attempt, Exit, Phase, Reason } from '../../contracts/phase.ts'

/** One recovery of one orphan, from detection to verified or given up. */
export const Episode = z.object({
  reason: Reason,
  startedAtMs: z.number(),
  attempts: z.number(),
  lastSeenMs: z.number(),
  /** Spent waiting for its turn; its time budget does not count that. */
  queuedMs: z.number().default(0),
  /** A living workload was ended for it, as allow_data_loss permits. */
  dataLoss: z.boolean().default(false),
  /** Its attempt under way was asked for by hand, and goes on when recovery is switched off. */
  forced: z.boolean().default(false),
})
export type Episode = z.infer<typeof Episode>

export const InstanceRecord = z.object({
  desired: Desired,
  phase: Phase,
  /** 0 before the first start; rises with each attempt to start. */
  incarnation: z.number(),
  nonce: z.string(),
  /** Host ports of this incarnation in the order of the spec's ports; kept over restarts so that addresses stay. */
  hostPorts: z.array(z.number()),
  /** Fingerprint of the spec the current incarnation was started with. */
  startedSpec: z.string(),
  /** Desired generation of the last attempt. */
  attemptGeneration: z.number(),
  acted: z.object({ restartSeq: z.number(), recoverSeq: z.number(), healSeq: z.number() }),
  /** Start of the current incarnation; null while nothing was started. */
  startedAtMs: z.number().nullable(),
  /** The current incarnation proved itself: ready checks passed, or it lived long enough without checks. */
  verified: z.boolean(),
  /** Some incarnation of this spec was verified: an end is a crash, the node's; before that it is a failed provisioning. */
  provisioned: z.boolean(),
  /** Ends or failed attempts in a row without a stable run between them. */
  failures: z.number(),
  /** When it ended, as far back as its own breaker counts. */
  ends: z.array(z.number()).default([]),
  episode: Episode.nullable(),
  attempts: z.array(Attempt),
  lastExit: Exit.nullable(),
  seq: z.number(),
})
export type InstanceRecord = z.infer<typeof InstanceRecord>

/** One journal line: the record after a change and the transitions that led to it, oldest first. */
export const JournalLine = z.object({ record: InstanceRecord, transitions: z.array(Transition) })
export type JournalLine = z.infer<typeof JournalLine>

export const ATTEMPTS_KEPT = 10

export function newRecord(desired: Desired, nowMs: number): InstanceRecord {
  return {
    desired,
    phase: { kind: 'placed', reason: 'requested', sinceMs: nowMs, attempt: 0, lastError: null },
    incarnation: 0,
    nonce: '',
    hostPorts: [],
    startedSpec: '',
    attemptGeneration: 0,
    // What was asked before this agent knew the instance is answered by its first start.
    acted: { restartSeq: desired.restartSeq, recoverSeq: desired.recoverSeq, healSeq: desired.healSeq },
    startedAtMs: null,
    verified: false,
    provisioned: false,
    failures: 0,
    ends: [],
    episode: null,
    attempts: [],
    lastExit: null,
    seq: 0,
  }
}
