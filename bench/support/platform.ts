// A real `holdfast up` in a temporary directory, driven through its API, for benches.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { type Client, createClient } from '../../src/client/client.ts'

export interface Platform {
  readonly client: Client
  readonly url: string
  readonly token: string
  readonly dataDir: string
  readonly pid: number
  /** `kill -9`, then the same again on the same data directory: resolves with the milliseconds until it was ready. */
  restart(): Promise<number>
  stop(): Promise<void>
}

/** Not /tmp: where many files come and go, ext4 takes milliseconds to find an inode, and the bench would measure that. */
const STATE_ROOT = '/var/tmp'
const BIN = resolve(import.meta.dirname, '../../bin/holdfast.js')

/** Starts it and waits for its ready line; `stop` ends the workloads too and removes the directory. */
export async function startPlatform(environment: Readonly<Record<string, string>> = {}, bin = BIN): Promise<Platform> {
  const dataDir = await mkdtemp(join(STATE_ROOT, 'holdfast-bench-'))
  const run = (listen: string) =>
    spawn(process.execPath, [bin, 'up', '--data-dir', dataDir, '--listen', listen, '--stop-workloads'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // A bench keeps the processors busy; that must not count as a reason to refuse work.
      env: { ...process.env, HOLDFAST_NODE_PRESSURE_CPU: '1', ...environment },
    })
  let child = run('127.0.0.1:0')
  const ended = () => new Promise((done) => child.once('exit', done))
  const url = await readyUrl(child)
  const token = (await readFile(join(dataDir, 'operator.token'), 'utf8')).trim()
  return {
    client: createClient({ url, token, clock: systemClock, random: systemRandom }),
    url,
    token,
    dataDir,
    get pid() {
      return child.pid ?? 0
    },
    async restart() {
      const gone = ended()
      child.kill('SIGKILL')
      await gone
      const startMs = performance.now()
      child = run(new URL(url).host)
      await readyUrl(child)
      return performance.now() - startMs
    },
    async stop() {
      const gone = ended()
      child.kill('SIGTERM')
      await gone
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

async function readyUrl(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error('no standard output')
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /^holdfast ready url=(\S+)/.exec(line)?.[1]
    if (url) return url
  }
  throw new Error('holdfast up ended before it was ready')
}
