// The parts of the engine's answers that are read here. Everything else in them is ignored; what may be absent or null in some version is.
import { z } from 'zod'

export const ErrorBody = z.object({ message: z.string() })

const Labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((labels) => labels ?? {})

export const ListedContainer = z.object({ Id: z.string(), Labels })
export const ListedContainers = z.array(ListedContainer)

const PortBinding = z.object({ HostIp: z.string().optional(), HostPort: z.string() })

export const Inspected = z.object({
  Id: z.string(),
  Name: z.string(),
  State: z.object({
    Status: z.string(),
    Running: z.boolean(),
    Paused: z.boolean(),
    OOMKilled: z.boolean().default(false),
    Pid: z.number(),
    ExitCode: z.number(),
    Error: z.string().default(''),
    StartedAt: z.string(),
    FinishedAt: z.string(),
  }),
  Config: z.object({ Labels }),
  NetworkSettings: z
    .object({ Ports: z.record(z.string(), z.array(PortBinding).nullable()).nullish() })
    .nullish()
    .transform((settings) => settings?.Ports ?? {}),
})
export type Inspected = z.infer<typeof Inspected>

/** With `size=1`: what the container has written itself. */
export const Weighed = z.object({ SizeRw: z.number().nullish() })

const Names = z
  .array(z.string())
  .nullish()
  .transform((names) => names ?? [])
export const InspectedImage = z.object({ Id: z.string(), RepoTags: Names, RepoDigests: Names, Size: z.number().default(0) })
export const ImageUsers = z.array(z.object({ Id: z.string(), ImageID: z.string() }))

export const Created = z.object({ Id: z.string() })
export const ExecCreated = z.object({ Id: z.string() })
export const ExecInspected = z.object({
  Running: z.boolean(),
  ExitCode: z.number().nullable(),
  Pid: z.number().default(0),
  ContainerID: z.string(),
})

export const EngineInfo = z.object({
  ServerVersion: z.string(),
  MemoryLimit: z.boolean().default(true),
  CgroupVersion: z.string().optional(),
  OSType: z.string().default('linux'),
})

/** One line of the event stream. `status` and `id` are older names of the same. */
export const EngineEvent = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: Labels }),
  timeNano: z.number().optional(),
})
export type EngineEvent = z.infer<typeof EngineEvent>

/** One line of a pull. Errors come inside an answer of status 200. */
export const PullLine = z.object({
  status: z.string().optional(),
  error: z.string().optional(),
  errorDetail: z.object({ code: z.number().optional(), message: z.string().optional() }).optional(),
})

/** What the engine says about a path in a container; `mode` has Go's bits. */
export const PathStat = z.object({ name: z.string(), size: z.number(), mode: z.number(), linkTarget: z.string().default('') })

const Io = z.object({ op: z.string(), value: z.number() })
export const EngineStats = z.object({
  read: z.string(),
  cpu_stats: z
    .object({ cpu_usage: z.object({ total_usage: z.number().optional() }).optional(), system_cpu_usage: z.number().optional() })
    .optional(),
  memory_stats: z
    .object({ usage: z.number().optional(), limit: z.number().optional(), stats: z.record(z.string(), z.number()).nullish() })
    .optional(),
  pids_stats: z.object({ current: z.number().optional() }).optional(),
  networks: z.record(z.string(), z.object({ rx_bytes: z.number(), tx_bytes: z.number() })).nullish(),
  blkio_stats: z.object({ io_service_bytes_recursive: z.array(Io).nullish() }).nullish(),
})
export type EngineStats = z.infer<typeof EngineStats>
