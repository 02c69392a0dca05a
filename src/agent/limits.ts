// Every bound of the agent in one place, and the relations between them.
import { assert } from '../base/assert.ts'

export const LIMITS = {
  /** Instances whose turn runs at once; each is mostly waiting for an effect. As many as a node may have: hundreds that wait for a slow
   * image or engine must not keep another one from being stopped or recovered. What is scarce has a line of its own (starts). */
  plansMax: 4096,
  /** Steps one instance may take in one go before others get their turn. */
  stepsPerRunMax: 64,
  /** Starts at once, as a multiple of the cores, for each runtime: a storm of restarts must leave the agent able to answer. */
  startsPerCore: 2,
  /** Automatic recoveries begun at once, as a multiple of the cores, unless the configuration says how many. */
  recoveriesPerCore: 2,
  inspectDeadlineMs: 5000,
  listDeadlineMs: 30_000,
  prepareDeadlineMs: 600_000,
  startDeadlineMs: 120_000,
  pauseDeadlineMs: 10_000,
  removeDeadlineMs: 60_000,
  /** Beyond the grace of the instance itself. */
  stopMarginMs: 30_000,
  stopGraceMsMax: 600_000,
  /** Between SIGTERM and SIGKILL of what nobody knows; its own wish is not known either. */
  collectGraceMs: 10_000,
  /** Collected at once. */
  collectsAtOnce: 4,
  imageDeadlineMs: 60_000,
  /** Reading the last output of one incarnation. */
  evidenceDeadlineMs: 10_000,
  /** Evidence of deleted instances on this node. */
  evidenceMax: 500,
  evidenceBytesMax: 256 * 2 ** 20,
  /** A question about garbage waits this long for a runtime to list, */
  gcListPatienceMs: 8000,
  /** and this long for what is being collected; it goes on afterwards. */
  gcAnswerMs: 20_000,
  /** Deletions that the control plane has not stored yet; of more the oldest are only in the log. */
  collectedMax: 1000,
  collectedResendMs: 30_000,
  /** Candidates whose size is asked for. */
  weighedMax: 100,
  weighDeadlineMs: 5000,
  statusDeadlineMs: 10_000,
  probeDeadlineMs: 5000,
  statsDeadlineMs: 10_000,
  /** Transitions kept for a control plane that does not answer; older ones are in the journal. */
  outboxMax: 64,
  /** Observations in one message. */
  reportBatchMax: 200,
  /** Runs of the operator's program for hooks at once, and in line: a storm of a thousand instances fits. */
  hooksMax: 4,
  hookQueueMax: 10_000,
  /** A wish the disk refused is tried again after this. */
  diskRetryMs: 2000,
  runtimeStatusIntervalMs: 15_000,
  /** The first word of a runtime is waited for this long at the start: a hanging engine must not keep the others from being looked at. */
  /** How long the ready line of an agent waits for the first word of the control plane. */
  acceptedPatienceMs: 3000,
  startPatienceMs: 1500,
} as const

// The kill must still fit after the longest grace, or a stop could never finish in time.
assert(LIMITS.stopMarginMs >= 10_000, 'stopMarginMs leaves time for the kill')
assert(LIMITS.inspectDeadlineMs < LIMITS.listDeadlineMs, 'one object takes no longer than all')
