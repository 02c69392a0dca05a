// holdfast.config.toml: its schema and its compiled form. One file for every process; each takes what concerns it. Unknown keys are
// refused. The order of precedence (defaults, file, environment, flags) is the command line's business, cli/config.
import { z } from 'zod'
import { type GcConfig, GcSection } from './gc-config.ts'
import { LABEL_KEY, LABEL_VALUE } from './labels.ts'
import { type ReliabilityConfig, ReliabilitySection } from './reliability.ts'
import { Duration, Memory } from './units.ts'

export interface HostPort {
  readonly host: string
  /** 0 = any free one. */
  readonly port: number
}

/** Compiled: nothing optional, base units. */
export interface HoldfastConfig {
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' }
  readonly metrics: { readonly namespace: string }
  readonly listen: HostPort
  readonly store: {
    readonly connectionsMax: number
    /** How long events, Idempotency-Keys with their answers, and deleted instances with their evidence are kept. */
    readonly retention: { readonly eventsMs: number; readonly keysMs: number; readonly deletedMs: number }
  }
  readonly node: {
    /** Null = derived from the machine. */
    readonly id: string | null
    readonly labels: Readonly<Record<string, string>>
    readonly reservedMemoryBytes: number
    readonly safetyBufferRatio: number
    readonly cpuOvercommit: number
    readonly thresholds: { readonly cpu: number; readonly memory: number; readonly disk: number }
  }
  readonly dockerSocket: string
  /** The operator's program for hooks; an empty command = none. */
  readonly hooks: { readonly command: readonly string[]; readonly timeoutMs: number }
  readonly reliability: ReliabilityConfig
  readonly gc: GcConfig
}

export const CONFIG_FILE_NAME = 'holdfast.config.toml'

const MIB = 2 ** 20
const Ratio = z.number().gt(0, 'must be more than 0').max(1, 'must be at most 1 (0.8 is 80 %)')

/** `127.0.0.1:7070`, `[::1]:7070`, `node-1:0`; undefined for anything else. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  return host !== undefined && port <= 65_535 ? { host, port } : undefined
}

const Listen = z.string().transform((text, ctx): HostPort => {
  const parsed = parseHostPort(text)
  if (parsed !== undefined) return parsed
  ctx.addIssue({ code: 'custom', message: 'must be HOST:PORT, such as 127.0.0.1:7070 or [::1]:0' })
  return z.NEVER
})

const RetentionSection = z
  .strictObject({ events: Duration.prefault('720h'), idempotency_keys: Duration.prefault('24h'), deleted: Duration.prefault('168h') })
  .prefault({})

const Namespace = z
  .string()
  .regex(/^[a-zA-Z](?:_?[a-zA-Z0-9]){0,62}$/, 'must be letters, digits and single _, begin with a letter and not end in _')
  .max(63)

const NodeSection = z
  .strictObject({
    id: z.string().min(1).max(253).optional(),
    labels: z.record(z.string().regex(LABEL_KEY, 'is not a label key'), z.string().regex(LABEL_VALUE, 'is not a label value')).default({}),
    reserved_memory: Memory.default(256 * MIB),
    safety_buffer: z.number().min(0).max(0.9).default(0.05),
    cpu_overcommit: z.number().min(0.1).max(100).default(4),
    pressure: z.strictObject({ cpu: Ratio.default(0.8), memory: Ratio.default(0.8), disk: Ratio.default(0.9) }).prefault({}),
  })
  .prefault({})

const AgentSection = z
  .strictObject({
    hooks: z
      .strictObject({
        command: z
          .array(
            z
              .string()
              .min(1)
              .max(4096)
              .refine((text) => !text.includes('\0'), 'must not contain a NUL byte'),
          )
          .max(64)
          .refine(([program]) => program === undefined || program.startsWith('/'), 'must begin with the absolute path of a program')
          .default([]),
        timeout: Duration.prefault('10s'),
      })
      .prefault({}),
  })
  .prefault({})

export const ConfigFile = z.strictObject({
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
  metrics: z.strictObject({ namespace: Namespace.default('holdfast') }).prefault({}),
  server: z.strictObject({ listen: Listen.prefault('127.0.0.1:7070') }).prefault({}),
  store: z.strictObject({ connections: z.number().int().min(2).max(200).default(10), retention: RetentionSection }).prefault({}),
  node: NodeSection,
  docker: z
    .strictObject({
      socket: z
        .string()
        .regex(/^\/[^\0]{0,106}$/, 'must be the absolute path of a unix socket, at most 107 bytes')
        .default('/var/run/docker.sock'),
    })
    .prefault({}),
  agent: AgentSection,
  reliability: ReliabilitySection,
  gc: GcSection,
})

export function compileConfig(parsed: z.output<typeof ConfigFile>): HoldfastConfig {
  const { log, metrics, server, store, node, agent, docker, reliability, gc } = parsed
  return {
    log,
    metrics,
    listen: server.listen,
    store: {
      connectionsMax: store.connections,
      retention: { eventsMs: store.retention.events, keysMs: store.retention.idempotency_keys, deletedMs: store.retention.deleted },
    },
    node: {
      id: node.id ?? null,
      labels: node.labels,
      reservedMemoryBytes: node.reserved_memory,
      safetyBufferRatio: node.safety_buffer,
      cpuOvercommit: node.cpu_overcommit,
      thresholds: node.pressure,
    },
    dockerSocket: docker.socket,
    hooks: { command: agent.hooks.command, timeoutMs: agent.hooks.timeout },
    reliability,
    gc,
  }
}

export const DEFAULT_CONFIG: HoldfastConfig = compileConfig(ConfigFile.parse({}))
