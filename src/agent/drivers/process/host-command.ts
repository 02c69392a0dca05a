// A command of the operator on the node itself, beside no workload: hooks. Forked by a forge, as checks are, so that it costs the agent no
// fork; the forge is made when it is first needed, and what it runs ends with it.
import { err, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { outcome } from './exec.ts'
import { type Forge, openForge } from './forge.ts'
import { archOf, DEFAULT_PATH, findPerl, pack } from './keeper.ts'

/** The forge gives no input, so a shell does; the command is its own process and its exit code is the answer. */
const WITH_INPUT = 'printf %s "$HOLDFAST_HOOK" | { unset HOLDFAST_HOOK; exec "$@"; }'

export interface HostCommand {
  /** Its exit code. Aborted: it is ended, with all that it forked, and the answer comes when it has. */
  run(input: string, signal: AbortSignal): Promise<Result<number, Failure>>
  close(): void
}

export function createHostCommand(stateDir: string, command: readonly string[]): HostCommand {
  let forge: Forge | null = null
  return {
    async run(input, signal) {
      const [perl, arch] = [findPerl(), archOf(process.arch)]
      if (perl === null || arch === undefined)
        return err(failure('runtime_unavailable', 'There is no perl on this node, which hooks need.', { runtime: 'process' }))
      forge ??= openForge(perl, arch, stateDir)
      const { promise, resolve } = Promise.withResolvers<Result<string, Failure>>()
      const env = { PATH: DEFAULT_PATH, HOLDFAST_HOOK: input }
      const argv = ['/bin/sh', '-c', WITH_INPUT, 'hook', ...command]
      const kill = forge.run(pack({ command: argv, env, cwd: '/', identity: null, groups: [] }, {}), resolve)
      signal.addEventListener('abort', kill, { once: true })
      if (signal.aborted) kill()
      const told = await promise
      signal.removeEventListener('abort', kill)
      return told.ok ? outcome(told.value, command[0] ?? '') : told
    },
    close() {
      forge?.close()
      forge = null
    },
  }
}
