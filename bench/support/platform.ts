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
  stop(): Promise<void>
}

/** Not /tmp: where many files come and go, ext4 takes milliseconds to find an inode, and the bench would measure that. */
const STATE_ROOT = '/var/tmp'
const BIN = resolve(import.meta.dirname, '../../bin/holdfast.js')

/** Starts it and waits for its ready line; `stop` ends the workloads too and removes the directory. */
export async function startPlatform(environment: Readonly<Record<string, string>> = {}): Promise<Platform> {
  const dataDir = await mkdtemp(join(STATE_ROOT, 'holdfast-bench-'))
  const child = spawn(process.execPath, [BIN, 'up', '--data-dir', dataDir, '--listen', '127.0.0.1:0', '--stop-workloads'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  })
  const url = await readyUrl(child)
  const token = (await readFile(join(dataDir, 'operator.token'), 'utf8')).trim()
  return {
    client: createClient({ url, token, clock: systemClock, random: systemRandom }),
    url,
    token,
    dataDir,
    pid: child.pid ?? 0,
    async stop() {
      const ended = new Promise((done) => child.once('exit', done))
      child.kill('SIGTERM')
      await ended
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
