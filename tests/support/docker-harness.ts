// A docker driver for one test: its own data directory and node, its containers marked with the run and removed at the end.
// Looks at the engine without our own client, which is under test.
import { rm } from 'node:fs/promises'
import { type Harness, shellCommand } from '../../src/agent/drivers/conformance-kit.ts'
import { createDockerDriver } from '../../src/agent/drivers/docker/driver.ts'
import type { Driver } from '../../src/agent/drivers/driver.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { dockerSocket, engineCall, TEST_IMAGE } from './probes.ts'
import { runId } from './run.ts'
import { ownTmpDir } from './tmp.ts'

export interface DockerHarness extends Harness {
  readonly nodeId: string
  readonly stateDir: string
  readonly socketPath: string
  call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<{ readonly status: number; readonly body: string }>
}

export interface HarnessOptions {
  readonly socketPath?: string
  readonly nodeId?: string
}

export async function dockerHarness(options: HarnessOptions = {}): Promise<DockerHarness> {
  const socketPath = options.socketPath ?? dockerSocket(process.env)
  const dir = await ownTmpDir()
  const nodeId = options.nodeId ?? `node-${systemRandom.text(12)}`
  const open = (): Driver =>
    createDockerDriver({
      stateDir: dir.path,
      nodeId,
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      socketPath,
      extraLabels: { 'holdfast.test/run': runId() },
    })
  const driver = open()
  const drivers = [driver]
  const call: DockerHarness['call'] = (method, path, body) => engineCall(socketPath, method, path, body)
  const containers = async (): Promise<readonly { readonly Id: string; readonly Names: readonly string[] }[]> => {
    const filters = encodeURIComponent(JSON.stringify({ label: [`holdfast.io/node=${nodeId}`] }))
    return JSON.parse((await call('GET', `/containers/json?all=1&filters=${filters}`)).body)
  }
  return {
    driver,
    runtime: 'docker',
    nodeId,
    stateDir: dir.path,
    socketPath,
    call,
    command: shellCommand,
    spec: (spec) => ({ ...spec, image: spec.image ?? TEST_IMAGE }),
    async reopen() {
      await drivers.at(-1)?.[Symbol.asyncDispose]()
      const next = open()
      drivers.push(next)
      return next
    },
    async kill(seen) {
      if (seen.pid === null || seen.pid < 2) throw new Error('nothing to kill')
      process.kill(seen.pid, 'SIGKILL')
    },
    async foreign() {
      const name = `foreign-${systemRandom.text(12)}`
      const body = { Image: TEST_IMAGE, Cmd: ['sleep', '600'], Labels: { 'holdfast.test/run': runId() } }
      const { Id } = JSON.parse((await call('POST', `/containers/create?name=${name}`, body)).body)
      await call('POST', `/containers/${Id}/start`)
      return {
        alive: async () => JSON.parse((await call('GET', `/containers/${Id}/json`)).body).State.Running === true,
        dispose: async () => {
          await call('DELETE', `/containers/${Id}?force=1&v=1`)
        },
      }
    },
    async leftovers() {
      return (await containers()).map((one) => one.Names[0] ?? one.Id)
    },
    async dispose() {
      await Promise.all(drivers.map((one) => one[Symbol.asyncDispose]()))
      await Promise.all((await containers()).map((one) => call('DELETE', `/containers/${one.Id}?force=1&v=1`)))
      await rm(dir.path, { recursive: true, force: true })
    },
  }
}
