// The driver of Docker on an engine that is none, and what it is asked to start there.
import { onTestFinished } from 'vitest'
import { plainSpec } from '../../src/agent/drivers/conformance-kit.ts'
import { createDockerDriver } from '../../src/agent/drivers/docker/driver.ts'
import type { Driver, Wanted } from '../../src/agent/drivers/driver.ts'
import type { Clock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { newId } from '../../src/contracts/ids.ts'
import type { FakeEngine } from './fake-engine.ts'
import { tmpDir } from './tmp.ts'

/** Closed with the test; without `stateDir` in a directory of its own. */
export async function dockerDriverOn(
  { socketPath }: FakeEngine,
  { clock = systemClock, stateDir }: { readonly clock?: Clock; readonly stateDir?: string } = {},
): Promise<Driver> {
  const driver = createDockerDriver({
    stateDir: stateDir ?? (await tmpDir()),
    nodeId: 'n1',
    clock,
    random: systemRandom,
    log: silentLogger,
    socketPath,
    extraLabels: {},
  })
  onTestFinished(() => driver[Symbol.asyncDispose]())
  return driver
}

export const wantedContainer = (incarnation = 1): Wanted => ({
  id: newId.instance(systemClock, systemRandom),
  incarnation,
  nonce: 'nonce',
  name: 'x',
  spec: { ...plainSpec('docker', ['x']), image: 'a:1' },
  labels: {},
  hostPorts: [],
  platformEnv: {},
})
