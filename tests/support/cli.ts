// The command line run inside the test: same program, same verbs, its terminals are buffers.
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { VERBS } from '../../src/cli/catalog.ts'
import type { Core, Terminal } from '../../src/cli/core.ts'
import { runCli } from '../../src/cli/program.ts'

export interface CliRun {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  readonly stdin?: string
  /** A terminal of this width; a pipe when absent. */
  readonly columns?: number
}

export function bufferCore(options: CliOptions = {}): { readonly core: Core; readonly out: () => string; readonly err: () => string } {
  let out = ''
  let errors = ''
  const terminal = (add: (text: string) => void): Terminal => ({
    isTty: options.columns !== undefined,
    columns: () => options.columns ?? Number.POSITIVE_INFINITY,
    rows: () => (options.columns === undefined ? Number.POSITIVE_INFINITY : 24),
    write: async (text) => add(typeof text === 'string' ? text : Buffer.from(text).toString('utf8')),
  })
  const core: Core = {
    env: options.env ?? {},
    cwd: options.cwd ?? '/nonexistent',
    pid: process.pid,
    uid: process.getuid?.() ?? -1,
    called: 'holdfast',
    out: terminal((text) => {
      out += text
    }),
    err: terminal((text) => {
      errors += text
    }),
    stdin: async (bytesMax) => (Buffer.byteLength(options.stdin ?? '') > bytesMax ? undefined : Buffer.from(options.stdin ?? '')),
    stdinIsTty: false,
    clock: systemClock,
    random: systemRandom,
    onSignal: () => () => undefined,
    outliveReaders: () => undefined,
    exitNow: (code) => {
      throw new Error(`the test called exitNow(${code})`)
    },
  }
  return { core, out: () => out, err: () => errors }
}

export async function cli(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const { core, out, err } = bufferCore(options)
  const code = await runCli(args, VERBS, '0.0.0-test', core)
  return { code, out: out(), err: err() }
}
