// Which runtimes are usable on this machine, asked of each driver without running an agent: for `holdfast doctor`.
import type { Clock, Random } from '../base/clock.ts'
import { silentLogger } from '../base/log.ts'
import type { RuntimeStatus } from '../contracts/agent-protocol.ts'
import { createDockerDriver } from './drivers/docker/driver.ts'
import { createProcessDriver } from './drivers/process/driver.ts'

export interface SurveyOptions {
  /** Nothing is written to it. */
  readonly stateDir: string
  readonly dockerSocket: string
  readonly clock: Clock
  readonly random: Random
}

export async function surveyRuntimes(options: SurveyOptions, signal: AbortSignal): Promise<readonly RuntimeStatus[]> {
  const common = { ...options, nodeId: 'doctor', log: silentLogger }
  const drivers = [createProcessDriver(common), createDockerDriver({ ...common, socketPath: options.dockerSocket, extraLabels: {} })]
  try {
    return await Promise.all(drivers.map((driver) => driver.status(signal)))
  } finally {
    await Promise.all(drivers.map((driver) => driver[Symbol.asyncDispose]()))
  }
}
