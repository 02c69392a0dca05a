// What the API answers with: snake_case, RFC 3339 times, bytes, `_ms` durations. Output shapes; inputs live in spec.ts and routes.ts.
import { z } from 'zod'
import { GarbageKind, GarbageReason } from './garbage.ts'
import { ChecksMode, SetOn } from './modes.ts'
import { CheckStanding, LastError, Trigger } from './phase.ts'
import { RecoveryMode } from './spec.ts'

const time = z.iso.datetime()

export const ErrorView = z.object({
  code: LastError.shape.code,
  message: z.string(),
  detail: z.string(),
  next: z.string(),
  retry: z.enum(['never', 'later', 'soon']),
  at: time.nullable(),
  fields: z.record(z.string(), z.unknown()),
})
export type ErrorView = z.infer<typeof ErrorView>

/** application/problem+json (RFC 9457). */
export const Problem = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.number(),
  detail: z.string(),
  code: z.string(),
  hint: z.string(),
  retryable: z.boolean(),
  request_id: z.string(),
})
export type Problem = z.infer<typeof Problem>

export const AddressView = z.object({ name: z.string(), protocol: z.string(), internal: z.number(), host: z.string(), port: z.number() })
export const ExitView = z.object({
  code: z.number().nullable(),
  signal: z.string().nullable(),
  memory_limit_exceeded: z.boolean(),
  at: time,
})
export const CheckView = z.object({
  name: z.string(),
  kind: CheckStanding.shape.kind,
  passing: z.boolean().nullable(),
  failures_in_row: z.number(),
  successes_in_row: z.number(),
  last_detail: z.string(),
  last_at: time.nullable(),
})

export const InstanceView = z.object({
  id: z.string(),
  name: z.string(),
  org_id: z.string(),
  runtime: z.string(),
  state: z.string(),
  reason: z.string(),
  since: time,
  incarnation: z.number(),
  attempt: z.number(),
  next_attempt_at: time.nullable(),
  last_error: ErrorView.nullable(),
  /** Its node cannot write down the next step, and therefore takes none: why. */
  blocked: z.object({ code: LastError.shape.code, detail: z.string() }).nullable(),
  desired: z.object({
    state: z.enum(['running', 'stopped', 'paused', 'deleted']),
    generation: z.number(),
    observed_generation: z.number(),
    spec: z.record(z.string(), z.unknown()),
  }),
  node_id: z.string().nullable(),
  app: z.string().nullable(),
  env: z.string().nullable(),
  process_type: z.string().nullable(),
  /** What is in force, and the level that says so; null = not known yet. */
  modes: z.object({
    recovery: z.object({ mode: RecoveryMode.nullable(), set_on: SetOn.nullable() }),
    health_checks: z.object({ mode: ChecksMode.nullable(), set_on: SetOn.nullable() }),
  }),
  health: z.object({ status: z.enum(['unknown', 'starting', 'healthy', 'unhealthy']), checks: z.array(CheckView) }),
  addresses: z.array(AddressView),
  pid: z.number().nullable(),
  last_exit: ExitView.nullable(),
  cloud_init: z
    .object({
      done: z.boolean(),
      steps: z.array(z.object({ step: z.string(), ok: z.boolean(), exit_code: z.number().nullable(), output: z.string() })),
      unsupported: z.array(z.string()),
    })
    .nullable(),
  notes: z.array(z.string()),
  labels: z.record(z.string(), z.string()),
  metadata: z.record(z.string(), z.string()),
  version: z.number(),
  created_at: time,
  updated_at: time,
})
export type InstanceView = z.infer<typeof InstanceView>

export const AttemptView = z.object({
  incarnation: z.number(),
  attempt: z.number(),
  reason: z.string(),
  started_at: time,
  ended_at: time.nullable(),
  duration_ms: z.number().nullable(),
  /** What made the platform try, and who, where somebody did. */
  trigger: Trigger,
  by: z.string().nullable(),
  /** It replaces a living workload whose checks failed, as allow_data_loss permits. */
  data_loss_permitted: z.boolean(),
  outcome: z.string(),
  error: ErrorView.nullable(),
})
export const HistoryView = z.object({
  attempts: z.array(AttemptView),
  transitions: z.array(
    z.object({
      seq: z.number(),
      at: time,
      from: z.string().nullable(),
      to: z.string(),
      reason: z.string(),
      incarnation: z.number(),
      exit: ExitView.nullable(),
      error: ErrorView.nullable(),
    }),
  ),
})
export type HistoryView = z.infer<typeof HistoryView>

/** Plain sentences; the first one names the cause. `nodes` is filled for an instance that could not be placed. */
export const WhyView = z.object({
  instance_id: z.string(),
  name: z.string(),
  summary: z.string(),
  desired: z.string(),
  observed: z.string(),
  difference: z.string().nullable(),
  last_error: ErrorView.nullable(),
  next: z.string(),
  next_at: time.nullable(),
  /** What of recovery and health checks is in force, and where it is set. */
  modes: z.array(z.string()),
  nodes: z.array(z.object({ node_id: z.string(), refused_by: z.string(), detail: z.string() })),
})
export type WhyView = z.infer<typeof WhyView>

export const StatsView = z.object({
  at: time,
  cpu_seconds: z.number().nullable(),
  cpu_ratio: z.number().nullable(),
  memory_bytes: z.number().nullable(),
  memory_limit_bytes: z.number().nullable(),
  network_received_bytes: z.number().nullable(),
  network_sent_bytes: z.number().nullable(),
  disk_read_bytes: z.number().nullable(),
  disk_written_bytes: z.number().nullable(),
  processes: z.number().nullable(),
})
export type StatsView = z.infer<typeof StatsView>

export const EventView = z.object({
  /** Position in the one total order; also the SSE id. */
  cursor: z.string(),
  at: time,
  type: z.string(),
  org_id: z.string().nullable(),
  instance_id: z.string().nullable(),
  node_id: z.string().nullable(),
  data: z.record(z.string(), z.unknown()),
})
export type EventView = z.infer<typeof EventView>

export const AuditView = z.object({
  cursor: z.string(),
  at: time,
  /** `token:NAME`, `token:ORG_ID/NAME` of a token of one organisation, or `system:LOOP`. */
  actor: z.string(),
  action: z.string(),
  org_id: z.string().nullable(),
  target: z.string(),
  outcome: z.enum(['accepted', 'refused']),
  request_id: z.string().nullable(),
  data: z.record(z.string(), z.unknown()),
})
export type AuditView = z.infer<typeof AuditView>

export const NodeView = z.object({
  id: z.string(),
  state: z.enum(['ready', 'cordoned', 'draining', 'offline']),
  connected: z.boolean(),
  last_seen_at: time.nullable(),
  hostname: z.string(),
  cores: z.number(),
  memory_bytes: z.number(),
  allocatable_memory_bytes: z.number(),
  reserved_memory_bytes: z.number(),
  cpu_ratio: z.number(),
  memory_ratio: z.number(),
  disk_ratio: z.number(),
  pressure: z.array(z.string()),
  /** Instances that take no step because their node cannot write it down, and why one of them. */
  blocked: z.object({ code: LastError.shape.code, detail: z.string(), instances: z.number() }).nullable(),
  runtimes: z.array(
    z.object({
      runtime: z.string(),
      usable: z.boolean(),
      version: z.string().nullable(),
      detail: z.string(),
      fix: z.string().nullable(),
      limits: z.string(),
    }),
  ),
  labels: z.record(z.string(), z.string()),
  instances: z.number(),
  agent_version: z.string(),
})
export type NodeView = z.infer<typeof NodeView>

export const OrgView = z.object({ id: z.string(), name: z.string(), created_at: time })
export const TokenView = z.object({
  id: z.string(),
  name: z.string(),
  org_id: z.string().nullable(),
  role: z.enum(['operator', 'viewer', 'agent']),
  created_at: time,
  last_used_at: time.nullable(),
})

export const EnvStatusView = z.object({
  id: z.string(),
  app: z.string(),
  env: z.string(),
  manifest_hash: z.string(),
  /** `converging` until each replica runs the newest manifest and is ready. */
  state: z.enum(['converging', 'running', 'failing']),
  processes: z.array(
    z.object({
      name: z.string(),
      wanted: z.number(),
      running: z.number(),
      ready: z.number(),
      current: z.number(),
      instances: z.array(z.object({ id: z.string(), name: z.string(), state: z.string() })),
    }),
  ),
})
export type EnvStatusView = z.infer<typeof EnvStatusView>

/** One line of an NDJSON answer (logs, exec): output, or the end, or the error that cut it short. The last line is never output. */
export const StreamLine = z.union([
  z.object({
    stream: z.enum(['stdout', 'stderr']),
    at: time.nullable(),
    data: z.base64(),
    /** Bytes of this stream missing right before `data`: the bounded log dropped them before they were read. Absent = none. */
    lost_bytes: z.number().optional(),
  }),
  z.object({
    end: z.literal(true),
    exit_code: z.number().nullable(),
    lost_bytes: z.number().nullable(),
    /** Of logs: whose output it was. Absent where nobody knows. */
    incarnation: z.number().optional(),
  }),
  z.object({ error: Problem }),
])
export type StreamLine = z.infer<typeof StreamLine>

export const HealthView = z.object({
  status: z.enum(['healthy', 'degraded', 'unhealthy']),
  version: z.string(),
  checks: z.record(z.string(), z.object({ status: z.enum(['healthy', 'degraded', 'unhealthy']), detail: z.string() })),
})
export type HealthView = z.infer<typeof HealthView>

export const page = <Item extends z.ZodType>(item: Item) => z.object({ items: z.array(item), next_cursor: z.string().nullable() })

const GarbageItemView = z.object({
  /** null = the control plane's own. */
  node_id: z.string().nullable(),
  kind: GarbageKind,
  reason: GarbageReason,
  id: z.string(),
  incarnation: z.number().nullable(),
  runtime: z.string().nullable(),
  detail: z.string(),
  age_ms: z.number(),
  bytes: z.number().nullable(),
})
/** `due_in_ms`: null = never by itself. `nodes`: each that was asked, with what it could not look at; `error` when it did not answer. */
export const GarbageView = z.object({
  candidates: z.array(GarbageItemView.extend({ due: z.boolean(), due_in_ms: z.number().nullable() })),
  collected: z.array(GarbageItemView),
  nodes: z.array(
    z.object({
      node_id: z.string(),
      notes: z.array(z.string()),
      error: z.object({ code: z.string(), detail: z.string() }).nullable(),
    }),
  ),
})
export type GarbageView = z.infer<typeof GarbageView>
