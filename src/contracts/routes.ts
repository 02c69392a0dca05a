// The one table of the HTTP API: server routes, OpenAPI and the typed client all come from it.
import { z } from 'zod'
import { EnvId } from './ids.ts'
import { LabelsPatch, MetadataPatch } from './labels.ts'
import { ChecksMode } from './modes.ts'
import { InstanceInput, RecoveryMode } from './spec.ts'
import {
  AuditView,
  EnvStatusView,
  EventView,
  GarbageView,
  HealthView,
  HistoryView,
  InstanceView,
  NodeView,
  OrgView,
  page,
  StatsView,
  TokenView,
  WhyView,
} from './views.ts'

export type Role = 'viewer' | 'operator' | 'agent'

/** `stream`: the answer is not one JSON document (NDJSON, SSE or text). `mutation`: takes an Idempotency-Key and is audited. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly summary: string
  /** Least role that may call it; null = no token needed. */
  readonly role: 'viewer' | 'operator' | null
  readonly params?: z.ZodObject
  readonly query?: z.ZodObject
  readonly body?: z.ZodType
  readonly status: 200 | 201 | 202 | 204
  readonly out: z.ZodType | null
  readonly stream?: 'ndjson' | 'text'
  readonly mutation?: true
}

const route = <const R extends Route>(given: R): R => given
const Id = z.object({ id: z.string().min(1).max(128) })
const number = (min: number, max: number, fallback: number) => z.coerce.number().int().min(min).max(max).default(fallback)
const flag = z.enum(['true', 'false', '1', '0', '']).transform((text) => text !== 'false' && text !== '0')
const Paging = { limit: number(1, 200, 50), cursor: z.string().max(512).optional() }
/** Without `after`: begin with this many events before the newest one, instead of with the oldest. */
const Last = z.coerce.number().int().min(0).max(200).optional()
const Empty = z.strictObject({}).optional()
const Name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be 1 to 63 of a-z 0-9 - and begin and end with a letter or digit')

const Garbage = { node: z.string().max(128).optional(), images: flag.optional(), unknown: flag.optional() }
const GarbageBody = { node: z.string().max(128).optional(), images: z.boolean().optional(), unknown: z.boolean().optional() }

const verb = (name: string, summary: string) =>
  route({
    method: 'POST',
    path: `/v1/instances/:id/${name}`,
    summary,
    role: 'operator',
    params: Id,
    body: Empty,
    status: 202,
    out: InstanceView,
    mutation: true,
  })

export const ROUTES = {
  createInstance: route({
    method: 'POST',
    path: '/v1/instances',
    summary: 'Launch one instance',
    role: 'operator',
    body: InstanceInput,
    status: 202,
    out: InstanceView,
    mutation: true,
  }),
  listInstances: route({
    method: 'GET',
    path: '/v1/instances',
    summary: 'List instances, newest first',
    role: 'viewer',
    query: z.strictObject({
      ...Paging,
      selector: z.string().max(4096).optional(),
      state: z.string().max(64).optional(),
      name: z.string().max(128).optional(),
      env_id: EnvId.optional(),
      include_deleted: flag.optional(),
    }),
    status: 200,
    out: page(InstanceView),
  }),
  getInstance: route({
    method: 'GET',
    path: '/v1/instances/:id',
    summary: 'Show an instance; `id` is an id, a unique name or a unique id prefix',
    role: 'viewer',
    params: Id,
    status: 200,
    out: InstanceView,
  }),
  putMetadata: route({
    method: 'PUT',
    path: '/v1/instances/:id/metadata',
    summary: 'Change metadata and labels: merge, null deletes; mode=replace replaces; If-Match guards',
    role: 'operator',
    params: Id,
    query: z.strictObject({ mode: z.enum(['merge', 'replace']).default('merge') }),
    body: z.strictObject({ metadata: MetadataPatch.optional(), labels: LabelsPatch.optional() }),
    status: 200,
    out: InstanceView,
    mutation: true,
  }),
  startInstance: verb('start', 'Wish it running'),
  stopInstance: verb('stop', 'Wish it stopped; it is never resurrected'),
  restartInstance: verb('restart', 'Stop and start it'),
  recoverInstance: {
    ...verb('recover', 'Force a recovery now; lifts a quarantine. What serves is replaced only with force'),
    body: z.strictObject({ force: z.boolean().optional() }).optional(),
  },
  putRecovery: route({
    method: 'PUT',
    path: '/v1/instances/:id/recovery',
    summary: 'Set recovery and health checks of an instance; null leaves them to its env or node. Restarts nothing; If-Match guards',
    role: 'operator',
    params: Id,
    body: z.strictObject({ mode: RecoveryMode.nullable().optional(), health_checks: ChecksMode.nullable().optional() }),
    status: 202,
    out: InstanceView,
    mutation: true,
  }),
  pauseInstance: verb('pause', 'Freeze it'),
  resumeInstance: verb('resume', 'Thaw it'),
  resetInstance: verb('reset', 'Hard reset (VMs)'),
  deleteInstance: route({
    method: 'DELETE',
    path: '/v1/instances/:id',
    summary: 'Delete an instance; purge=true leaves no evidence of it either',
    role: 'operator',
    params: Id,
    query: z.strictObject({ purge: flag.optional() }),
    status: 202,
    out: InstanceView,
    mutation: true,
  }),
  whyInstance: route({
    method: 'GET',
    path: '/v1/instances/:id/why',
    summary: 'Why it is as it is',
    role: 'viewer',
    params: Id,
    status: 200,
    out: WhyView,
  }),
  historyInstance: route({
    method: 'GET',
    path: '/v1/instances/:id/history',
    summary: 'Attempts and transitions',
    role: 'viewer',
    params: Id,
    status: 200,
    out: HistoryView,
  }),
  statsInstance: route({
    method: 'GET',
    path: '/v1/instances/:id/stats',
    summary: 'Figures now',
    role: 'viewer',
    params: Id,
    status: 200,
    out: StatsView,
  }),
  logsInstance: route({
    method: 'GET',
    path: '/v1/instances/:id/logs',
    summary: 'Logs as NDJSON lines {stream, at, data(base64)}; the last line is {end, lost_bytes}',
    role: 'viewer',
    params: Id,
    query: z.strictObject({
      follow: flag.optional(),
      previous: flag.optional(),
      tail: z.coerce.number().int().min(0).max(100_000).optional(),
      since: z.string().max(64).optional(),
    }),
    status: 200,
    out: null,
    stream: 'ndjson',
  }),
  execInstance: route({
    method: 'POST',
    path: '/v1/instances/:id/exec',
    summary: 'Run a command in it; NDJSON lines {stream, data(base64)}, then {end, exit_code}',
    role: 'operator',
    params: Id,
    body: z.strictObject({
      command: z.array(z.string().max(131_072)).min(1).max(1024),
      stdin: z.string().max(1_048_576).optional(),
      timeout_ms: z.number().int().min(100).max(3_600_000).default(600_000),
      user: z.string().max(128).optional(),
    }),
    status: 200,
    out: null,
    stream: 'ndjson',
  }),
  instanceEvents: route({
    method: 'GET',
    path: '/v1/instances/:id/events',
    summary: 'Events of one instance, oldest first',
    role: 'viewer',
    params: Id,
    query: z.strictObject({ after: z.string().max(64).optional(), last: Last, limit: number(1, 200, 50) }),
    status: 200,
    out: page(EventView),
  }),
  listEvents: route({
    method: 'GET',
    path: '/v1/events',
    summary: 'Events after a cursor; with Accept: text/event-stream an endless stream that Last-Event-ID resumes',
    role: 'viewer',
    query: z.strictObject({
      after: z.string().max(64).optional(),
      last: Last,
      limit: number(1, 200, 50),
      instance: z.string().max(128).optional(),
    }),
    status: 200,
    out: page(EventView),
  }),
  listAudit: route({
    method: 'GET',
    path: '/v1/audit',
    summary: 'Who did what, newest first',
    role: 'viewer',
    query: z.strictObject(Paging),
    status: 200,
    out: page(AuditView),
  }),
  listNodes: route({
    method: 'GET',
    path: '/v1/nodes',
    summary: 'List nodes',
    role: 'viewer',
    query: z.strictObject(Paging),
    status: 200,
    out: page(NodeView),
  }),
  getNode: route({ method: 'GET', path: '/v1/nodes/:id', summary: 'Show a node', role: 'viewer', params: Id, status: 200, out: NodeView }),
  cordonNode: route({
    method: 'POST',
    path: '/v1/nodes/:id/cordon',
    summary: 'Place nothing new on it',
    role: 'operator',
    params: Id,
    body: Empty,
    status: 202,
    out: NodeView,
    mutation: true,
  }),
  uncordonNode: route({
    method: 'POST',
    path: '/v1/nodes/:id/uncordon',
    summary: 'Place on it again',
    role: 'operator',
    params: Id,
    body: Empty,
    status: 202,
    out: NodeView,
    mutation: true,
  }),
  listOrgs: route({
    method: 'GET',
    path: '/v1/orgs',
    summary: 'List organisations',
    role: 'operator',
    query: z.strictObject(Paging),
    status: 200,
    out: page(OrgView),
  }),
  createOrg: route({
    method: 'POST',
    path: '/v1/orgs',
    summary: 'Create an organisation',
    role: 'operator',
    body: z.strictObject({ name: Name }),
    status: 201,
    out: OrgView,
    mutation: true,
  }),
  listTokens: route({
    method: 'GET',
    path: '/v1/tokens',
    summary: 'List tokens, never their secrets',
    role: 'operator',
    query: z.strictObject(Paging),
    status: 200,
    out: page(TokenView),
  }),
  createToken: route({
    method: 'POST',
    path: '/v1/tokens',
    summary: 'Create a token; the secret is shown once',
    role: 'operator',
    body: z.strictObject({ name: Name, role: z.enum(['operator', 'viewer']), org: z.string().max(128).optional() }),
    status: 201,
    out: TokenView.extend({ secret: z.string() }),
    mutation: true,
  }),
  deleteToken: route({
    method: 'DELETE',
    path: '/v1/tokens/:id',
    summary: 'Revoke a token; the one that asks, and the last operator of the platform, only with force',
    role: 'operator',
    params: Id,
    query: z.strictObject({ force: flag.optional() }),
    status: 204,
    out: null,
    mutation: true,
  }),
  /** The body is the parsed manifest as in contracts/manifest.ts, validated there. */
  deploy: route({
    method: 'POST',
    path: '/v1/deploys',
    summary: 'Move an env to a manifest; replicas are replaced one at a time',
    role: 'operator',
    body: z.strictObject({ manifest: z.record(z.string(), z.unknown()), env: Name.default('prod') }),
    status: 202,
    out: EnvStatusView,
    mutation: true,
  }),
  listEnvs: route({
    method: 'GET',
    path: '/v1/envs',
    summary: 'List envs with their status',
    role: 'viewer',
    query: z.strictObject({ ...Paging, app: z.string().max(64).optional() }),
    status: 200,
    out: page(EnvStatusView),
  }),
  deleteEnv: route({
    method: 'DELETE',
    path: '/v1/envs/:id',
    summary: 'Delete an env and its instances',
    role: 'operator',
    params: Id,
    status: 202,
    out: EnvStatusView,
    mutation: true,
  }),
  showGarbage: route({
    method: 'GET',
    path: '/v1/gc',
    summary: 'What garbage collection has found, on all connected nodes or one: what, why, how old, how big, due or not',
    role: 'viewer',
    query: z.strictObject(Garbage),
    status: 200,
    out: GarbageView,
  }),
  collectGarbage: route({
    method: 'POST',
    path: '/v1/gc',
    summary:
      'Collect now what is due; every guard holds. images: images too; unknown: instances only their node knows, whatever their share',
    role: 'operator',
    body: z.strictObject({ ...GarbageBody }).optional(),
    status: 200,
    out: GarbageView,
  }),
  health: route({ method: 'GET', path: '/health', summary: 'Health of each subsystem', role: null, status: 200, out: HealthView }),
} as const

export type RouteName = keyof typeof ROUTES

/** Paths that somebody may listen to for as long as they like: how long such an answer took says nothing about us. */
export const UNTIMED_PATHS: ReadonlySet<string> = new Set([ROUTES.listEvents.path, ROUTES.logsInstance.path, ROUTES.execInstance.path])
