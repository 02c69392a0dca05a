// Other ways of running the same workloads, for the arms of the chaos bench: nobody at all, and a shell loop.
import { type ChildProcess, spawn } from 'node:child_process'
import { OK, ok } from '../../src/base/result.ts'
import type { Host } from '../../src/cli/chaos/host.ts'
import { freePort } from './free-port.ts'

/** `again`: a shell starts the program anew whenever it has ended, at once and for ever. */
export function loopHost(again: boolean): Host {
  const running = new Map<string, { readonly child: ChildProcess; readonly port: number }>()
  return {
    async launch({ name, command = [], env = {} }) {
      const port = await freePort()
      const words = again ? ['sh', '-c', 'while :; do "$@"; done', 'loop', ...command] : [...command]
      const [program = '', ...rest] = words
      // A group of its own, so that loop and program end together.
      const child = spawn(program, rest, { stdio: 'ignore', detached: true, env: { PATH: process.env.PATH, ...env, PORT: String(port) } })
      running.set(name, { child, port })
      return ok({ id: name, name })
    },
    port: async ({ name }) => running.get(name)?.port ?? null,
    why: async () => null,
    notes: async () => [],
    whole: async () => true,
    state: async ({ name }) => (running.has(name) ? 'running' : null),
    async wish({ name }, wish) {
      const found = running.get(name)
      const pid = found?.child.pid
      if (!found || pid === undefined || (wish !== 'delete' && wish !== 'stop')) return OK
      running.delete(name)
      const alive = found.child.exitCode === null && found.child.signalCode === null
      const gone = new Promise((done) => found.child.once('exit', done))
      if (!alive) return OK
      process.kill(-pid, 'SIGKILL')
      await gone
      return OK
    },
  }
}
