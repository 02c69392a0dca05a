// A Docker Engine of one test file's own, to be killed, stopped and continued at will. Its supervisor starts a killed dockerd again after
// half a second; containers live on meanwhile (containerd is apart, live-restore is on).
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ownTmpDir } from './tmp.ts'

const SCRIPT = join(import.meta.dirname, '../../tools/test-services.sh')
const run = promisify(execFile)

export interface PrivateDocker extends AsyncDisposable {
  readonly socketPath: string
  /** Of the daemon that runs now; null in the moment in which another one takes its place. */
  pid(): number | null
  signal(name: NodeJS.Signals): void
}

export async function privateDocker(): Promise<PrivateDocker> {
  const dir = await ownTmpDir()
  const root = join(dir.path, 's')
  await run(SCRIPT, ['start', root, 'docker'], { timeout: 90_000 })
  const pid = () => {
    // Written anew by the supervisor with each daemon: empty for a moment.
    const found = Number(readFileSync(join(root, 'dockerd.daemon.pid'), 'utf8'))
    return found > 1 ? found : null
  }
  return {
    socketPath: join(root, 'docker.sock'),
    pid,
    signal(name) {
      const found = pid()
      if (found === null) throw new Error('the private dockerd is being replaced')
      process.kill(found, name)
    },
    async [Symbol.asyncDispose]() {
      await run(SCRIPT, ['stop', root], { timeout: 90_000 })
      await dir[Symbol.asyncDispose]()
    },
  }
}
