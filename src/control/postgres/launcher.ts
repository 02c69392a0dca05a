// How a PostgreSQL program is started, so that it runs when we are root (it refuses to be), and dies when we die.
//
// As root, a user namespace in which root is called `nobody` satisfies it without any extra account, and its files stay root's.
// The order matters: unshare clears the parent-death signal, so setpriv comes after it. Where user namespaces are forbidden
// (many containers), it becomes the real nobody and owns its directory.
import { spawn } from 'node:child_process'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

export interface Launcher {
  readonly kind: 'user' | 'namespace' | 'nobody'
  /** Command and arguments that run `program` as this launcher does. */
  wrap(program: string, args: readonly string[]): readonly [command: string, args: readonly string[]]
  /** Owner that the data must have, as we see it. */
  readonly ownerId: number
}

const NOBODY = 65_534
const NAMESPACE = ['--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`]
const BECOME_NOBODY = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups']
/** INT is the fast shutdown: open transactions are rolled back, everything acknowledged is on disk. */
const DIE_WITH_US = ['--pdeathsig', 'INT']

export async function chooseLauncher(env: Readonly<Record<string, string>>, userId: number): Promise<Result<Launcher, Failure>> {
  const dieWithUs = (await works('setpriv', [...DIE_WITH_US, '--', 'true'], env)) ? ['setpriv', ...DIE_WITH_US, '--'] : []
  if (userId !== 0) return ok(launcher('user', userId, dieWithUs))
  if (await works('unshare', [...NAMESPACE, 'true'], env)) return ok(launcher('namespace', 0, ['unshare', ...NAMESPACE, ...dieWithUs]))
  const nobody = ['setpriv', ...BECOME_NOBODY, ...DIE_WITH_US, '--']
  if (await works('setpriv', [...nobody.slice(1), 'true'], env)) return ok(launcher('nobody', NOBODY, nobody))
  return err(
    failure(
      'store_unavailable',
      'PostgreSQL does not run as root, and neither unshare nor setpriv (package util-linux) can start it as another user; run holdfast as an ordinary user, or set HOLDFAST_DATABASE_URL.',
    ),
  )
}

function launcher(kind: Launcher['kind'], ownerId: number, prefix: readonly string[]): Launcher {
  return {
    kind,
    ownerId,
    wrap: (program, args) => {
      const [command, ...rest] = [...prefix, program, ...args]
      return [command ?? program, rest]
    },
  }
}

function works(command: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env: { ...env }, stdio: 'ignore', timeout: 5000, killSignal: 'SIGKILL' })
    child.on('error', () => resolve(false))
    child.on('exit', (code) => resolve(code === 0))
  })
}
