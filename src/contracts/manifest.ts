// holdfast.toml after TOML parsing: its schema. Unknown keys are refused everywhere; a key that the format knows and this
// version does not do yet is refused by name, never accepted and ignored. Every issue carries the exact path of the key it is
// about, so that the CLI can show line and column. `manifest-compile.ts` turns a manifest into what each replica is made from.

import { z } from 'zod'
import { Labels } from './labels.ts'
import { WORDS } from './parse-words.ts'
import { HealthCheckInput, InstanceInput, RecoveryMode, Runtime } from './spec.ts'
import { Cpu, Duration, Memory } from './units.ts'

const MANIFEST_SCHEMA_VERSION = 'v1'
const PROCESSES_MAX = 32
const REPLICAS_MAX = 100
const CHECKS_MAX = 8

/** A key of the format that this version refuses. */
const notYet = (what: string) => z.never({ error: `not supported yet: ${what}` }).optional()

const Name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be 1 to 63 of a-z 0-9 - and begin and end with a letter or digit')
const ProcessName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'a process name begins with a-z and has at most 32 of a-z 0-9 -')
const VarKey = z.string().regex(/^[A-Z_][A-Z0-9_]{0,255}$/, 'a variable name is A-Z 0-9 _ and does not begin with a digit')
const VarValue = z
  .string({ error: 'must be a string; put the value in quotes' })
  .max(131_072)
  .refine((text) => !text.includes('\0'), 'must not contain a NUL byte')
const Vars = z.record(VarKey, VarValue)
const Workdir = InstanceInput.shape.working_dir
const User = InstanceInput.shape.security.unwrap().shape.user

const Seconds = z.number().positive('must be more than zero').max(86_400)
const timing = {
  kind: z.enum(['start', 'ready', 'live']).optional(),
  interval: Duration.optional(),
  timeout: Duration.optional(),
  grace: Duration.optional(),
  interval_seconds: Seconds.optional(),
  timeout_seconds: Seconds.optional(),
  grace_period_seconds: Seconds.optional(),
  success_threshold: z.number().int().min(1).max(100).optional(),
  failure_threshold: z.number().int().min(1).max(100).optional(),
}
const [tcp, http, exec] = HealthCheckInput.options
const Check = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('tcp'), port: tcp.shape.port, ...timing }),
  z.strictObject({
    type: z.literal('http'),
    port: http.shape.port,
    path: http.shape.path.unwrap(),
    headers: http.shape.headers.unwrap().optional(),
    status: http.shape.status,
    ...timing,
  }),
  z.strictObject({ type: z.literal('exec'), command: exec.shape.command, ...timing }),
])
export type ManifestCheck = z.output<typeof Check>

const TWO_FORMS = [
  ['interval', 'interval_seconds'],
  ['timeout', 'timeout_seconds'],
  ['grace', 'grace_period_seconds'],
] as const
const CheckOnce = Check.superRefine((check, ctx) => {
  for (const [text, seconds] of TWO_FORMS)
    if (check[text] !== undefined && check[seconds] !== undefined)
      ctx.addIssue({ code: 'custom', path: [seconds], message: `give ${text} or ${seconds}, not both` })
})

const isTable = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
const withType = (value: unknown) => (isTable(value) && value.type === undefined ? { ...value, type: 'tcp' } : value)

const CheckList = z.array(CheckOnce).max(CHECKS_MAX)

/** One table or a list of tables, always a list afterwards; the paths of issues stay those of the text. `type` defaults to tcp. */
const Health = z
  .unknown()
  .optional()
  .transform((value, ctx): { readonly single: boolean; readonly checks: readonly ManifestCheck[] } => {
    if (value === undefined) return { single: false, checks: [] }
    const list = Array.isArray(value)
    const parsed = list ? CheckList.safeParse(value.map(withType), WORDS) : CheckOnce.safeParse(withType(value), WORDS)
    if (parsed.success) return { single: !list, checks: Array.isArray(parsed.data) ? parsed.data : [parsed.data] }
    for (const { path, message } of flatten(parsed.error.issues)) ctx.addIssue({ code: 'custom', path: [...path], message })
    return z.NEVER
  })

const Scaling = z
  .strictObject({
    min: z.number().int().min(0).max(REPLICAS_MAX).default(1),
    max: z.number().int().min(0).max(REPLICAS_MAX).optional(),
    autoscale: z.never({ error: 'autoscaling is not offered; set min to the number of replicas' }).optional(),
  })
  .refine((scaling) => scaling.max === undefined || scaling.max >= scaling.min, { path: ['max'], error: 'must not be less than min' })

const port = InstanceInput.shape.ports.unwrap().element.shape
const PortEntry = z.strictObject({
  name: port.name,
  internal: port.internal,
  host: port.host.unwrap().optional(),
  protocol: z.literal('tcp', { error: 'only tcp ports are supported' }).optional(),
})

const Process = z.strictObject({
  runtime: Runtime.default('process'),
  command: InstanceInput.shape.command.unwrap().min(1, 'give at least the program').optional(),
  resources: z.strictObject({
    cpu: Cpu.optional(),
    memory: z.string({ error: 'memory is required: a cap such as "512Mi" or "2Gi"' }).pipe(Memory),
    disk: notYet('resources.disk'),
  }),
  scaling: Scaling.prefault({}),
  ports: z.array(PortEntry).max(32).default([]),
  health: Health,
  restart: z
    .strictObject({
      policy: z.enum(['always', 'on-failure', 'never']),
      max_retries: notYet('restart.max_retries; the node decides how often'),
      backoff_seconds: notYet('restart.backoff_seconds; the node decides how long'),
    })
    .optional(),
  stop: z
    .strictObject({ signal: InstanceInput.shape.stop.unwrap().shape.signal.unwrap().optional(), grace: Duration.optional() })
    .optional(),
  vars: Vars.default({}),
  labels: Labels.default({}),
  user: User,
  workdir: Workdir,
  mounts: notYet('volumes and mounts'),
  secrets: notYet('secrets'),
  prestart: notYet('prestart'),
  prestart_timeout_seconds: notYet('prestart'),
})
export type ManifestProcess = z.output<typeof Process>

export const Manifest = z.strictObject({
  schema_version: z.literal(MANIFEST_SCHEMA_VERSION, { error: `must be "${MANIFEST_SCHEMA_VERSION}"` }),
  app: z.strictObject({ name: Name, description: z.string().max(256).optional() }),
  image: z
    .strictObject({
      ref: InstanceInput.shape.image,
      pull_policy: z.literal('if_not_present', { error: 'not supported yet: only if_not_present' }).optional(),
    })
    .optional(),
  env: z
    .strictObject({
      vars: Vars.default({}),
      user: User,
      workdir: Workdir,
      /** For all its replicas, in place of what their nodes say; changed without replacing any. */
      recovery: z.strictObject({ mode: RecoveryMode }).optional(),
      health_check: z.strictObject({ enabled: z.boolean() }).optional(),
      prestart: notYet('prestart'),
      prestart_timeout_seconds: notYet('prestart'),
    })
    .prefault({}),
  processes: z
    .record(ProcessName, Process)
    .refine((all) => Object.keys(all).length > 0, 'give at least one process, such as [processes.web]')
    .refine((all) => Object.keys(all).length <= PROCESSES_MAX, `at most ${PROCESSES_MAX} processes`),
  volumes: notYet('volumes'),
  secrets: notYet('secrets'),
  routes: notYet('routes'),
  backup: notYet('backups'),
})
export type Manifest = z.output<typeof Manifest>

/** One thing wrong with a manifest. `path` leads to the key itself, also for an unknown one. */
export interface ManifestIssue {
  readonly path: readonly (string | number)[]
  readonly message: string
}

/** Zod's issues with one entry per key; for an unknown key zod names only the table it stands in. */
export function flatten(issues: readonly z.core.$ZodIssue[]): readonly ManifestIssue[] {
  return issues.flatMap((issue): ManifestIssue[] => {
    const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ path: [...path, key], message: 'unknown key' }))
    if (issue.code === 'invalid_key') return issue.issues.map((inner) => ({ path, message: inner.message }))
    return [{ path, message: issue.message }]
  })
}
