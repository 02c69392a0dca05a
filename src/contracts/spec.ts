// What a user asks for (`InstanceInput`, snake_case, human units) and what the platform works with (`InstanceSpec`,
// compiled: nothing optional, base units). `compileSpec` in spec-compile.ts is the only way from one to the other.
import { z } from 'zod'
import { Labels, Metadata } from './labels.ts'
import { Cpu, Duration, Memory } from './units.ts'

export const RUNTIMES = ['process', 'docker', 'qemu', 'firecracker', 'fake'] as const
export const Runtime = z.enum(RUNTIMES)
export type Runtime = z.infer<typeof Runtime>

export const USER_DATA_BYTES_MAX = 262_144
const PORTS_MAX = 32
const noNul = (text: string) => !text.includes('\0')
const line = z.string().min(1).max(4096).refine(noNul, 'must not contain a NUL byte')

export const InstanceName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be 1 to 63 of a-z 0-9 - and begin and end with a letter or digit')
const Port = z.number().int().min(1).max(65_535)
const PortName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'must begin with a-z and have at most 32 of a-z 0-9 -')
const EnvKey = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'must be letters, digits and _ and not begin with a digit')

/** `host` 0 (the default) = chosen by the node; `internal` 0 (process runtime) = same as the chosen one, passed in PORT. */
const PortInput = z.strictObject({
  name: PortName.optional(),
  internal: z.number().int().min(0).max(65_535),
  host: z.number().int().min(0).max(65_535).default(0),
  protocol: z.enum(['tcp', 'udp']).default('tcp'),
})

const Threshold = z.number().int().min(1).max(100)
const checkTiming = {
  interval: Duration.default(10_000),
  timeout: Duration.default(2000),
  failure_threshold: Threshold.default(3),
  success_threshold: Threshold.default(1),
  /** Failures of this long after the start do not count. */
  grace: Duration.optional(),
}
const checkPort = z.union([Port, PortName])
const CheckKind = z.enum(['start', 'ready', 'live']).default('ready')
export const HealthCheckInput = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('tcp'), kind: CheckKind, port: checkPort, ...checkTiming }),
  z.strictObject({
    type: z.literal('http'),
    kind: CheckKind,
    port: checkPort,
    path: z
      .string()
      .max(2048)
      .regex(/^\/[\x21-\x7e]*$/, 'must begin with / and hold visible ASCII only')
      .default('/'),
    headers: z
      .record(
        z.string().regex(/^[A-Za-z0-9-]{1,128}$/),
        z
          .string()
          .max(4096)
          .regex(/^[\x20-\x7e]*$/),
      )
      .default({}),
    /** Exact status wanted; absent = any 2xx or 3xx. */
    status: z.number().int().min(100).max(599).optional(),
    ...checkTiming,
  }),
  z.strictObject({ type: z.literal('exec'), kind: CheckKind, command: z.array(line).min(1).max(256), ...checkTiming }),
])

const MountInput = z.strictObject({
  source: z
    .string()
    .max(4096)
    .regex(/^\/[^\0]*$/, 'must be an absolute path on the node'),
  target: z
    .string()
    .max(4096)
    .regex(/^\/[^\0]*$/, 'must be an absolute path in the instance'),
  read_only: z.boolean().default(false),
})

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGKILL'] as const
const Capability = z.string().regex(/^[A-Z][A-Z_]{1,40}$/, 'must be a capability name without CAP_, such as NET_ADMIN')

export const RecoveryMode = z.enum(['off', 'observe', 'on'])
export type RecoveryMode = z.infer<typeof RecoveryMode>

export const InstanceInput = z.strictObject({
  name: InstanceName.optional(),
  runtime: Runtime.default('process'),
  image: z
    .string()
    .min(1)
    .max(512)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._/:@-]*$/, 'must be an image reference such as nginx:1.27 or name@sha256:…')
    .optional(),
  command: z.array(z.string().max(131_072).refine(noNul, 'must not contain a NUL byte')).max(1024).default([]),
  cpu: Cpu.default(1),
  memory: Memory.optional(),
  env: z.record(EnvKey, z.string().max(131_072).refine(noNul, 'must not contain a NUL byte')).default({}),
  working_dir: z
    .string()
    .max(4096)
    .regex(/^\/[^\0]*$/, 'must be an absolute path')
    .optional(),
  ports: z.array(PortInput).max(PORTS_MAX, `at most ${PORTS_MAX} ports`).default([]),
  mounts: z.array(MountInput).max(64).default([]),
  health: z.array(HealthCheckInput).max(8).default([]),
  restart: z.strictObject({ policy: z.enum(['always', 'on-failure', 'never']).default('always') }).default({ policy: 'always' }),
  stop: z
    .strictObject({ signal: z.enum(SIGNALS).default('SIGTERM'), grace: Duration.default(10_000) })
    .default({ signal: 'SIGTERM', grace: 10_000 }),
  security: z
    .strictObject({
      privileged: z.boolean().default(false),
      capabilities_add: z.array(Capability).max(64).default([]),
      capabilities_drop: z.array(Capability).max(64).default([]),
      read_only_root: z.boolean().default(false),
      user: z
        .string()
        .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$/, 'must be USER or USER:GROUP')
        .optional(),
    })
    .default({ privileged: false, capabilities_add: [], capabilities_drop: [], read_only_root: false }),
  networks: z
    .array(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/))
    .max(8)
    .default([]),
  allow_data_loss: z.boolean().default(false),
  recovery: z.strictObject({ mode: RecoveryMode }).optional(),
  metadata: Metadata.default({}),
  labels: Labels.default({}),
  user_data: z.string().optional(),
  ssh_authorized_keys: z.array(z.string().max(16_384)).max(64).default([]),
  node_selector: z.record(z.string(), z.string()).default({}),
})
/** As written by a user: every default may be absent. */
export type InstanceInput = z.input<typeof InstanceInput>

const timing = {
  intervalMs: z.number(),
  timeoutMs: z.number(),
  failureThreshold: z.number(),
  successThreshold: z.number(),
  graceMs: z.number(),
}
const kind = z.enum(['start', 'ready', 'live'])
/** `port` is the internal port; 0 stands for the one port chosen per replica. */
export const Check = z.discriminatedUnion('type', [
  z.object({ type: z.literal('tcp'), kind, port: z.number(), ...timing }),
  z.object({
    type: z.literal('http'),
    kind,
    port: z.number(),
    path: z.string(),
    headers: z.record(z.string(), z.string()),
    status: z.number().nullable(),
    ...timing,
  }),
  z.object({ type: z.literal('exec'), kind, command: z.array(z.string()), ...timing }),
])
export type Check = z.infer<typeof Check>

export const InstanceSpec = z.object({
  runtime: Runtime,
  image: z.string().nullable(),
  command: z.array(z.string()),
  cpuMillis: z.number(),
  memoryBytes: z.number(),
  env: z.record(z.string(), z.string()),
  workingDir: z.string().nullable(),
  ports: z.array(z.object({ name: z.string(), internal: z.number(), host: z.number(), protocol: z.enum(['tcp', 'udp']) })),
  mounts: z.array(z.object({ source: z.string(), target: z.string(), readOnly: z.boolean() })),
  health: z.array(Check),
  restart: z.enum(['always', 'on-failure', 'never']),
  stop: z.object({ signal: z.enum(SIGNALS), graceMs: z.number() }),
  security: z.object({
    privileged: z.boolean(),
    capabilitiesAdd: z.array(z.string()),
    capabilitiesDrop: z.array(z.string()),
    readOnlyRoot: z.boolean(),
    user: z.string().nullable(),
  }),
  networks: z.array(z.string()),
  allowDataLoss: z.boolean(),
  recoveryMode: RecoveryMode.nullable(),
  userData: z.string().nullable(),
  sshAuthorizedKeys: z.array(z.string()),
  nodeSelector: z.record(z.string(), z.string()),
})
export type InstanceSpec = z.infer<typeof InstanceSpec>
