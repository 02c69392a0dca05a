// A `holdfast up` as a process of its own, for tests that go through the command line as a person does.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CliRun, cli } from './cli.ts'
import { waitFor } from './wait.ts'

const BIN = join(import.meta.dirname, '../../bin/holdfast.js')

export interface Up {
  readonly pid: number
  readonly url: string
  readonly data: string
  readonly child: ChildProcess
  readonly out: () => string
  readonly err: () => string
  /** Exit code; for a signal 128 and its number are not added: it is null then. */
  readonly ended: Promise<number | null>
  /** A command of a person who works with this platform. */
  cli(...args: string[]): Promise<CliRun>
  json(...args: string[]): Promise<unknown>
  /** How it stands and what it said last, for a failure that explains itself. */
  said(): string
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<number | null>
}

export interface Started {
  readonly child: ChildProcess
  readonly out: () => string
  readonly err: () => string
  readonly ended: Promise<number | null>
}

/** Any verb as a process of its own. */
export function start(args: readonly string[], options: { cwd?: string; env?: Readonly<Record<string, string>> } = {}): Started {
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd: options.cwd ?? process.cwd(),
    // The tests themselves keep the processors busy; a node that therefore takes nothing new would be right, and no use here.
    env: { ...process.env, HOLDFAST_URL: '', HOLDFAST_TOKEN: '', HOLDFAST_NODE_PRESSURE_CPU: '1', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout?.on('data', (chunk) => {
    out += String(chunk)
  })
  child.stderr?.on('data', (chunk) => {
    err += String(chunk)
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))
  return { child, out: () => out, err: () => err, ended }
}

export async function up(
  data: string,
  args: readonly string[] = [],
  options: { env?: Readonly<Record<string, string>> } = {},
): Promise<Up> {
  const started = start(['up', ...args, '--data-dir', data, '--listen', '127.0.0.1:0'], options)
  const { child, out, err, ended } = started
  let code: number | null | undefined
  void ended.then((given) => {
    code = given
  })
  const ready = await waitFor(
    () => {
      if (code !== undefined) throw new Error(`up ended with ${code}: ${err()}`)
      return /^holdfast ready url=(\S+) data=(\S+)$/m.exec(out())
    },
    { what: 'holdfast up says ready', deadlineMs: 60_000 },
  )
  const run = (...given: string[]) => cli(given, { env: { HOLDFAST_DATA_DIR: data }, cwd: data })
  return {
    pid: child.pid!,
    url: ready[1]!,
    data,
    child,
    out,
    err,
    ended,
    cli: run,
    json: async (...given) => {
      const { code: exit, out: text, err: said } = await run(...given, '--json')
      if (exit !== 0) throw new Error(`holdfast ${given.join(' ')} ended with ${exit}: ${text}${said}`)
      return JSON.parse(text)
    },
    said: () =>
      `up ${code === undefined ? 'runs' : `ended with ${code ?? child.signalCode}`}; ${err()}${lastLines(join(data, 'holdfast.log'))}`,
    end: (signal) => {
      child.kill(signal)
      return ended
    },
  }
}

function lastLines(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-12).join('\n')
  } catch (error) {
    return String(error)
  }
}
