// What the agent and the control plane say to each other over the one WebSocket the agent opens (docs/models/link.md).
// JSON text frames, one message each. The agent dials; control never does. Every message may be lost with the connection:
// after a reconnect the agent says hello again, gets the whole desired set, and sends every observation not yet acknowledged.
import { z } from 'zod'
import { Collected, GarbageReport } from './garbage.ts'
import { InstanceId, NodeId, OrgId } from './ids.ts'
import { ModesInForce, ModeWish, NO_MODES } from './modes.ts'
import { Attempt, CheckStanding, CloudInitStatus, Exit, HealthWord, LastError, PHASE_KINDS, Phase, type PhaseKind } from './phase.ts'
import { InstanceSpec, Runtime } from './spec.ts'

export const PROTOCOL_VERSION = 3
export const LINK_PATH = '/v1/agent/link'
export const LINK_MESSAGE_BYTES_MAX = 64 * 2 ** 20

/** What the user wants of one instance. Written by control only; `generation` rises with every change and the agent refuses to go below. */
export const Desired = z.object({
  id: InstanceId,
  orgId: OrgId,
  name: z.string(),
  generation: z.number(),
  want: z.enum(['running', 'stopped', 'paused', 'deleted']),
  spec: InstanceSpec,
  labels: z.record(z.string(), z.string()),
  /** Set on the instance, and on its env; may change at any time, and restarts nothing. */
  modes: ModeWish.default(NO_MODES),
  envModes: ModeWish.default(NO_MODES),
  /** The generation of the newest change that asks for something to be done, which a change of modes does not. */
  wishGeneration: z.number().optional(),
  /** Who made that change: `token:NAME` or `system:LOOP`. */
  wishedBy: z.string().nullable().default(null),
  /** Each rises by one per request; the agent acts once when it sees a higher number than it last acted upon. */
  restartSeq: z.number(),
  recoverSeq: z.number(),
  healSeq: z.number(),
  /** Deleted with its evidence. */
  purge: z.boolean().optional(),
})
export type Desired = z.infer<typeof Desired>

export const Address = z.object({
  name: z.string(),
  protocol: z.enum(['tcp', 'udp']),
  internal: z.number(),
  host: z.string(),
  port: z.number(),
})
export type Address = z.infer<typeof Address>

/** One step through the state machine, numbered per instance by the agent; control stores each exactly once, in order. */
export const Transition = z.object({
  seq: z.number(),
  atMs: z.number(),
  from: z.enum(PHASE_KINDS as [PhaseKind, ...PhaseKind[]]).nullable(),
  to: Phase,
  incarnation: z.number(),
  exit: Exit.nullable(),
})
export type Transition = z.infer<typeof Transition>

const WireFailure = LastError.omit({ atMs: true })

/** What the agent knows of one instance. Written by the agent only. */
export const Observed = z.object({
  id: InstanceId,
  /** The desired generation that this observation answers. */
  generation: z.number(),
  /** The healSeq the agent has acted upon. */
  healSeq: z.number(),
  incarnation: z.number(),
  phase: Phase,
  health: HealthWord,
  checks: z.array(CheckStanding),
  addresses: z.array(Address),
  pid: z.number().nullable(),
  lastExit: Exit.nullable(),
  attempts: z.array(Attempt),
  /** What is in force for it now. */
  modes: ModesInForce.optional(),
  cloudInit: CloudInitStatus.nullable(),
  /** A recovery is due and has to wait for its turn (docs/models/recovery.md); `detail` is half a sentence for people. */
  waits: z.object({ kind: z.enum(['queued', 'paused']), detail: z.string() }).optional(),
  /** Its node cannot write down the next step, and therefore takes none: why. */
  blocked: WireFailure.optional(),
  /** Things a user must see, such as `limits: not enforced here`. */
  notes: z.array(z.string()),
  transitions: z.array(Transition),
})
export type Observed = z.infer<typeof Observed>

export const RuntimeStatus = z.object({
  runtime: Runtime,
  usable: z.boolean(),
  version: z.string().nullable(),
  /** Why it is not usable, and the command that fixes it. */
  detail: z.string(),
  fix: z.string().nullable(),
  limits: z.enum(['cgroup-v2', 'cgroup-v1', 'engine', 'none']),
})
export type RuntimeStatus = z.infer<typeof RuntimeStatus>

export const NodeFacts = z.object({
  hostname: z.string(),
  os: z.string(),
  cores: z.number(),
  memoryBytes: z.number(),
  allocatableMemoryBytes: z.number(),
  allocatableCpuMillis: z.number(),
  labels: z.record(z.string(), z.string()),
  runtimes: z.array(RuntimeStatus),
  agentVersion: z.string(),
})
export type NodeFacts = z.infer<typeof NodeFacts>

/** Ratios are 0..1. `pressure` names the dimensions now above their threshold (with hysteresis); new instances are refused. */
export const NodeUsage = z.object({
  atMs: z.number(),
  cpuRatio: z.number(),
  memoryRatio: z.number(),
  diskRatio: z.number(),
  reservedMemoryBytes: z.number(),
  pressure: z.array(z.enum(['cpu', 'memory', 'disk'])),
  /** How many instances take no step because it could not be written down, and why one of them; absent when none. */
  blocked: z.object({ code: LastError.shape.code, detail: z.string(), instances: z.number() }).optional(),
})
export type NodeUsage = z.infer<typeof NodeUsage>

export const AgentRequest = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('logs'),
    instanceId: InstanceId,
    follow: z.boolean(),
    tailLines: z.number().nullable(),
    sinceMs: z.number().nullable(),
    previous: z.boolean(),
  }),
  z.object({
    op: z.literal('exec'),
    instanceId: InstanceId,
    command: z.array(z.string()),
    stdin: z.string().nullable(),
    timeoutMs: z.number(),
    user: z.string().nullable(),
  }),
  z.object({ op: z.literal('stats'), instanceId: InstanceId }),
  /** What is garbage on this node; unless `dryRun`, what is due is collected. */
  z.object({ op: z.literal('gc'), dryRun: z.boolean(), images: z.boolean(), unknown: z.boolean() }),
  /** Removes the evidence of an instance that is gone. */
  z.object({ op: z.literal('purge'), instanceId: InstanceId }),
])
export type AgentRequest = z.infer<typeof AgentRequest>

/** Its answer is output, and lasts as long as its reader likes. Others are one short reply, and have a share of their own of each limit. */
export const isStream = ({ op }: Pick<AgentRequest, 'op'>): boolean => op !== 'stats'

/** Half of the answer to one request more than a node takes; the other is the hint of `too_many_requests`. */
export const tooMany = (stream: boolean, open: number): string =>
  stream
    ? `${open} readers of logs and exec are open on this node, which is the limit: end one of them, also one that was suspended (Ctrl-Z).`
    : `${open} short requests to this node are under way, which is the limit.`

/** `data` is base64, of at most CHUNK_BYTES_MAX bytes. `stream` of a log chunk tells stdout from stderr. */
export const ReplyChunk = z.object({
  stream: z.enum(['stdout', 'stderr']),
  data: z.string(),
  atMs: z.number().nullable(),
  /** Log bytes of this stream that were dropped between the chunk before and this one. */
  lostBytes: z.number(),
})
export type ReplyChunk = z.infer<typeof ReplyChunk>

/** Figures of a running instance; null = this runtime cannot tell. */
export const Stats = z.object({
  atMs: z.number(),
  cpuSeconds: z.number().nullable(),
  cpuRatio: z.number().nullable(),
  memoryBytes: z.number().nullable(),
  memoryLimitBytes: z.number().nullable(),
  networkReceivedBytes: z.number().nullable(),
  networkSentBytes: z.number().nullable(),
  diskReadBytes: z.number().nullable(),
  diskWrittenBytes: z.number().nullable(),
  processes: z.number().nullable(),
})
export type Stats = z.infer<typeof Stats>

export const FromAgent = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    protocol: z.number(),
    nodeId: NodeId,
    bootId: z.string(),
    facts: NodeFacts,
    usage: NodeUsage,
    instances: z.array(z.object({ id: InstanceId, generation: z.number() })),
  }),
  z.object({ type: z.literal('observed'), items: z.array(Observed) }),
  z.object({ type: z.literal('heartbeat'), usage: NodeUsage, facts: NodeFacts.nullable() }),
  z.object({ type: z.literal('chunk'), requestId: z.string(), chunk: ReplyChunk }),
  z.object({
    type: z.literal('reply'),
    requestId: z.string(),
    error: WireFailure.nullable(),
    exitCode: z.number().nullable(),
    stats: Stats.nullable(),
    /** Log bytes that bounded files had dropped before this reader came to them; what its chunks told is in it. */
    lostBytes: z.number().nullable(),
    /** Of logs: whose output it was. */
    incarnation: z.number().optional(),
    gc: GarbageReport.optional(),
  }),
  /** Sent again until it is stored. */
  z.object({ type: z.literal('collected'), items: z.array(Collected) }),
])
export type FromAgent = z.infer<typeof FromAgent>

export const FromControl = z.discriminatedUnion('type', [
  /** The whole desired set of this node. An instance the agent has and this lacks is reported, and left to garbage collection. */
  z.object({ type: z.literal('welcome'), items: z.array(Desired), seen: z.array(z.object({ id: InstanceId, seq: z.number() })) }),
  z.object({ type: z.literal('refused'), error: WireFailure }),
  z.object({ type: z.literal('desired'), items: z.array(Desired) }),
  /** Stored durably up to this transition. `deleted` instances may be forgotten. */
  z.object({ type: z.literal('ack'), items: z.array(z.object({ id: InstanceId, seq: z.number() })) }),
  /** Chunks may cost `windowBytes` in all (stream-window.ts), and what is credited later. */
  z.object({ type: z.literal('request'), requestId: z.string(), request: AgentRequest, windowBytes: z.number() }),
  z.object({ type: z.literal('credit'), requestId: z.string(), bytes: z.number() }),
  z.object({ type: z.literal('cancel'), requestId: z.string() }),
  /** These deletions are stored. */
  z.object({ type: z.literal('collected'), keys: z.array(z.string()) }),
])
export type FromControl = z.infer<typeof FromControl>
