// What `up`, `server` and `agent` are made from: configuration, log and instruments, and the two processes with their options.
import path from 'node:path'
import type { Result } from '../../base/result.ts'
import type { HoldfastConfig } from '../../contracts/config.ts'
import type { Failure } from '../../contracts/errors.ts'
import { createLogger, type TelemetryLogger } from '../../telemetry/logger.ts'
import { createTelemetry, type Telemetry } from '../../telemetry/meter.ts'
import { type LoadedConfig, loadConfig } from '../config/load.ts'
import type { Core } from '../core.ts'

type Agent = Extract<Awaited<ReturnType<typeof import('../../agent/main.ts').startAgent>>, { readonly ok: true }>['value']
type Control = Extract<Awaited<ReturnType<typeof import('../../control/main.ts').startControl>>, { readonly ok: true }>['value']

export interface Parts {
  readonly core: Core
  readonly config: HoldfastConfig
  readonly log: TelemetryLogger
  readonly telemetry: Telemetry
}

export interface ConfigFlags {
  readonly config?: string | undefined
  readonly listen?: string | undefined
  readonly nodeName?: string | undefined
}

/** `dir`: where a configuration file is looked for beside the working directory. */
export function readConfig(core: Core, dir: string, flags: ConfigFlags): Promise<Result<LoadedConfig, Failure>> {
  return loadConfig({
    cwd: core.cwd,
    dataDir: dir,
    file: flags.config,
    env: core.env,
    flags: {
      'server.listen': { value: flags.listen, words: '--listen' },
      'node.id': { value: flags.nodeName, words: '--node-name' },
    },
  })
}

export function makeParts(core: Core, config: HoldfastConfig, component: string, write: (line: string) => void): Parts {
  const log = createLogger({ level: config.log.level, component, destination: { write }, clock: core.clock })
  return { core, config, log, telemetry: createTelemetry({ namespace: config.metrics.namespace }) }
}

export interface ControlWishes {
  readonly dataDir: string
  /** What else runs in this process tree, for /health. */
  readonly agent?: () => Agent | undefined
  /** False once the data directory was removed or replaced. */
  readonly present?: () => Promise<boolean>
  /** Gives the start up. */
  readonly signal: AbortSignal
}

export async function startControlPart({ core, config, log, telemetry }: Parts, wishes: ControlWishes): Promise<Result<Control, Failure>> {
  const { startControl } = await import('../../control/main.ts')
  const { agent, present } = wishes
  return startControl({
    dataDir: wishes.dataDir,
    listen: config.listen,
    databaseUrl: core.env.HOLDFAST_DATABASE_URL || null,
    log,
    telemetry,
    clock: core.clock,
    random: core.random,
    signal: wishes.signal,
    config: { storeConnectionsMax: config.store.connectionsMax, retention: config.store.retention, gc: config.gc },
    checks: {
      ...(agent && { agent: () => Promise.resolve(agentCheck(agent())) }),
      ...(present && { data_directory: async () => directoryCheck(wishes.dataDir, await present()) }),
    },
  })
}

const directoryCheck = (dir: string, present: boolean) =>
  present ? ({ status: 'healthy', detail: dir } as const) : ({ status: 'unhealthy', detail: `${dir} was removed or replaced` } as const)

function agentCheck(agent: Agent | undefined): { readonly status: 'healthy' | 'degraded'; readonly detail: string } {
  if (agent === undefined) return { status: 'degraded', detail: 'starting' }
  const { status, detail } = agent.health()
  return { status, detail }
}

export interface AgentWishes {
  readonly stateDir: string
  /** Null = work alone. */
  readonly controlUrl: string | null
  readonly token: string
}

export async function startAgentPart({ core, config, log, telemetry }: Parts, wishes: AgentWishes): Promise<Result<Agent, Failure>> {
  const { startAgent } = await import('../../agent/main.ts')
  const { node, reliability, gc } = config
  return startAgent({
    ...wishes,
    stateDir: path.resolve(core.cwd, wishes.stateDir),
    // The flag, the file and HOLDFAST_NODE_ID are one value by now.
    givenNodeIds: [node.id ?? undefined, core.env.PERSYS_NODE_ID],
    nodeLabels: node.labels,
    log,
    telemetry,
    clock: core.clock,
    random: core.random,
    config: {
      reliability,
      gc,
      reservedMemoryBytes: node.reservedMemoryBytes,
      safetyBufferRatio: node.safetyBufferRatio,
      cpuOvercommit: node.cpuOvercommit,
      thresholds: node.thresholds,
    },
    dockerSocket: config.dockerSocket,
    hooks: config.hooks,
  })
}
