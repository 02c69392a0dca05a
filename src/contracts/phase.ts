// The observed state of an instance: one discriminated union, shared by agent, control plane and client.
// docs/models/instance.md is the prose: who writes which state, every transition, the invariants.
import { z } from 'zod'
import { ERRORS, type ErrorCode } from './errors.ts'

const code = z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]])

/** The last typed error of an instance, as kept and shown. */
export const LastError = z.object({
  code,
  detail: z.string(),
  atMs: z.number(),
  fields: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())])).optional(),
})
export type LastError = z.infer<typeof LastError>

/** How a workload ended. `code` and `signal` are both null when nobody could know (the supervisor itself was killed). */
export const Exit = z.object({ code: z.number().nullable(), signal: z.string().nullable(), oom: z.boolean(), atMs: z.number() })
export type Exit = z.infer<typeof Exit>

/** Why an instance is in its state: a closed set of words, stable for scripts and metrics. */
export const REASONS = [
  'requested', // a person or the manifest asked for it
  'waiting_for_node',
  'no_node',
  'preparing',
  'starting',
  'started',
  'waiting_for_checks',
  'verified',
  'adopted', // found running after an agent restart
  'process_dead',
  'socket_unreachable',
  'health_check_failed',
  'process_mismatch',
  'memory_limit_exceeded',
  'start_failed',
  'admission_refused',
  'permanent_error',
  'attempts_exhausted',
  'crash_loop',
  'exited_ok',
  'exited_error',
  'stop_failed',
  'node_lost',
  'recovery_off',
  'self_recovered',
  'paused_outside', // somebody paused it with the runtime's own tools; left alone
  'unhealthy_restart', // checks failed and allow_data_loss permits a restart
  'runtime_unreachable', // the runtime does not answer; nothing is concluded from that
  'forced', // recover by hand
  'healer', // restart in place raised by the control plane
] as const
export const Reason = z.enum(REASONS)
export type Reason = z.infer<typeof Reason>

const common = {
  reason: Reason,
  sinceMs: z.number(),
  /** Attempts of the current episode so far; 0 outside one. */
  attempt: z.number(),
  lastError: LastError.nullable(),
}
const retrying = { ...common, nextAttemptAtMs: z.number() }
const phase = <Kind extends string, Shape extends z.ZodRawShape>(kind: Kind, shape: Shape) => z.object({ kind: z.literal(kind), ...shape })

export const Phase = z.discriminatedUnion('kind', [
  phase('pending', common),
  phase('placed', common),
  phase('preparing', common),
  phase('starting', common),
  phase('running', common),
  phase('degraded', common),
  phase('paused', common),
  phase('stopping', { ...common, towards: z.enum(['stopped', 'deleted', 'restart']) }),
  phase('stopped', { ...common, exit: Exit.nullable() }),
  phase('recovering', retrying),
  phase('crash_looping', retrying),
  phase('quarantined', { ...common, untilMs: z.number() }),
  phase('failed', common),
  phase('completed', { ...common, exit: Exit }),
  phase('lost', common),
  phase('deleted', common),
])
export type Phase = z.infer<typeof Phase>
export type PhaseKind = Phase['kind']
export const PHASE_KINDS = Phase.options.map((option) => option.shape.kind.value) as readonly PhaseKind[]

export const HealthWord = z.enum(['unknown', 'starting', 'healthy', 'unhealthy'])
export type HealthWord = z.infer<typeof HealthWord>

/** Standing of one check: how often in a row it failed or passed, and what it said last. */
export const CheckStanding = z.object({
  name: z.string(),
  kind: z.enum(['engine', 'start', 'ready', 'live']),
  passing: z.boolean().nullable(),
  failuresInRow: z.number(),
  successesInRow: z.number(),
  lastDetail: z.string(),
  lastAtMs: z.number().nullable(),
})
export type CheckStanding = z.infer<typeof CheckStanding>

/** What made the platform try: it itself, a person's wish, a person's `recover`, or the control plane's healer. */
export const Trigger = z.enum(['automatic', 'wished', 'forced', 'healer'])
export type Trigger = z.infer<typeof Trigger>

/** One try at starting the instance; the last 10 are kept. */
export const Attempt = z.object({
  incarnation: z.number(),
  attempt: z.number(),
  reason: Reason,
  trigger: Trigger.default('automatic'),
  /** Who wished it; null when nobody did, or an older release did not say. */
  by: z.string().nullable().default(null),
  /** It replaces a life that failed its checks and was ended for it, as allow_data_loss permits. */
  dataLoss: z.boolean().default(false),
  startedAtMs: z.number(),
  endedAtMs: z.number().nullable(),
  outcome: z.enum(['success', 'failure', 'cancelled', 'running']),
  error: LastError.nullable(),
})
export type Attempt = z.infer<typeof Attempt>

/** Result of one cloud-init step inside a container. */
export const CloudInitStep = z.object({ step: z.string(), ok: z.boolean(), exitCode: z.number().nullable(), output: z.string() })
export type CloudInitStep = z.infer<typeof CloudInitStep>
export const CloudInitStatus = z.object({ done: z.boolean(), steps: z.array(CloudInitStep), unsupported: z.array(z.string()) })
export type CloudInitStatus = z.infer<typeof CloudInitStatus>
