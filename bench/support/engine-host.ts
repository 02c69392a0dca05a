// Containers on a Docker Engine without Holdfast, for the arms of the chaos bench: nobody at all, and the engine's own `--restart=always`.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { OK, ok } from '../../src/base/result.ts'
import type { Host, Target } from '../../src/cli/chaos/host.ts'
import { freePort } from './free-port.ts'

const run = promisify(execFile)

export interface EngineHostOptions {
  readonly socket: string
  readonly image: string
  readonly restart: 'always' | 'no'
}

export function engineHost({ socket, image, restart }: EngineHostOptions): Host {
  const docker = async (...words: string[]) => (await run('docker', ['-H', `unix://${socket}`, ...words])).stdout.trim()
  const ports = new Map<string, number>()
  const state = async ({ id }: Target) => docker('inspect', '-f', '{{.State.Status}}', id).catch(() => null)
  return {
    async launch({ name, command = [], env = {}, ports: [port] = [] }) {
      // A fixed one: one that the engine chooses is another after each of its restarts.
      const chosen = await freePort()
      const internal = String(port?.internal ?? 0)
      const variables = Object.entries({ ...env, PORT: internal }).flatMap(([key, value]) => ['-e', `${key}=${value}`])
      const words = ['--name', `chaos-${name}`, `--restart=${restart}`, '--memory', '32m', '-p', `127.0.0.1:${chosen}:${internal}`]
      const id = await docker('run', '-d', ...words, ...variables, image, ...command)
      ports.set(id, chosen)
      return ok({ id, name })
    },
    port: async ({ id }) => ports.get(id) ?? null,
    why: async () => null,
    notes: async () => [],
    whole: () =>
      docker('version').then(
        () => true,
        () => false,
      ),
    state,
    async wish(target, wish) {
      if (wish === 'delete') await docker('rm', '-f', '-v', target.id).catch(() => '')
      else await docker(wish, '-t', '1', target.id)
      return OK
    },
  }
}
