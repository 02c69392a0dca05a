// The node agent as a process, built by hand, top to bottom: what it is on this machine. How it works is in assemble.ts.
import { hostname } from 'node:os'
import { Cleanup } from '../base/cleanup.ts'
import type { Clock, Random } from '../base/clock.ts'
import type { Result } from '../base/result.ts'
import type { Failure } from '../contracts/errors.ts'
import type { NodeId } from '../contracts/ids.ts'
import type { Runtime } from '../contracts/spec.ts'
import type { TelemetryLogger } from '../telemetry/logger.ts'
import type { Telemetry } from '../telemetry/meter.ts'
import { type Agent, runAgent } from './assemble.ts'
import type { AgentConfig } from './config.ts'
import { createDockerDriver } from './drivers/docker/driver.ts'
import type { Driver } from './drivers/driver.ts'
import { createProcessDriver } from './drivers/process/driver.ts'
import { createHostCommand } from './drivers/process/host-command.ts'
import { openInstanceFiles } from './execute/files.ts'
import { createPorts } from './execute/ports.ts'
import { openResidue } from './execute/residue.ts'
import { bootMark, machineSources, nodeIdentity } from './identity.ts'
import { dial } from './link/socket.ts'
import type { HookProgram } from './loop/hooks.ts'
import { kernelReadings } from './monitor/readings.ts'

export interface AgentOptions {
  readonly stateDir: string
  /** Where the control plane listens; null = work alone (used to stop workloads while nothing else runs). */
  readonly controlUrl: string | null
  readonly token: string
  /** HOLDFAST_NODE_ID and PERSYS_NODE_ID, or the configuration's; empty and `auto` mean derive. */
  readonly givenNodeIds: readonly (string | undefined)[]
  readonly nodeLabels: Readonly<Record<string, string>>
  readonly log: TelemetryLogger
  readonly telemetry: Telemetry
  readonly clock: Clock
  readonly random: Random
  readonly config: AgentConfig
  readonly dockerSocket: string
  /** Run for each hook, with the event as one line of JSON on its input; an empty command = none. */
  readonly hooks?: { readonly command: readonly string[]; readonly timeoutMs: number }
  /** Labels on every container this agent makes, beyond its own. */
  readonly extraContainerLabels?: Readonly<Record<string, string>>
}

/** Ready when what a former agent left has been read, and looked at in every runtime that answers; the control plane is dialled in the background. */
export async function startAgent(options: AgentOptions): Promise<Result<Agent, Failure>> {
  const { stateDir, controlUrl, token, nodeLabels, clock, random, log, telemetry, config } = options
  const identity = await nodeIdentity(stateDir, machineSources(options.givenNodeIds))
  if (!identity.ok) return identity
  const nodeId = identity.value
  const bootId = await bootMark(stateDir, random)
  if (!bootId.ok) return bootId
  const cleanup = new Cleanup()
  const drivers = makeDrivers(options, nodeId)
  for (const driver of drivers.values()) cleanup.add(`${driver.runtime} driver`, () => driver[Symbol.asyncDispose]())
  const hooks = hookProgram(options, cleanup)
  return runAgent({
    nodeId,
    bootId: bootId.value,
    hostname: hostname(),
    os: `${process.platform} ${process.arch}`,
    nodeLabels,
    clock,
    random,
    log,
    meter: telemetry.meter,
    config,
    drivers,
    files: openInstanceFiles(stateDir, log.child('journal')),
    residue: openResidue(stateDir),
    ports: createPorts(),
    readings: kernelReadings(),
    paths: [stateDir],
    hooks,
    control: controlUrl === null ? null : { url: controlUrl, token, dial },
    cleanup,
  })
}

function hookProgram({ stateDir, hooks }: AgentOptions, cleanup: Cleanup): HookProgram | null {
  if (hooks === undefined || hooks.command.length === 0) return null
  const command = createHostCommand(stateDir, hooks.command)
  cleanup.add('hook command', () => command.close())
  return { timeoutMs: hooks.timeoutMs, run: (line, signal) => command.run(line, signal) }
}

function makeDrivers(options: AgentOptions, nodeId: NodeId): ReadonlyMap<Runtime, Driver> {
  const { stateDir, clock, random, dockerSocket } = options
  const made: readonly Driver[] = [
    createProcessDriver({ stateDir, nodeId, clock, random, log: options.log.child('process') }),
    createDockerDriver({
      stateDir,
      nodeId,
      clock,
      random,
      log: options.log.child('docker'),
      socketPath: dockerSocket,
      extraLabels: options.extraContainerLabels ?? {},
    }),
  ]
  return new Map(made.map((driver) => [driver.runtime, driver]))
}
