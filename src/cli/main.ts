// The command line as a process: the real terminals, environment, signals and clock go in, an exit code comes out.
import { isatty } from 'node:tty'
import { systemClock, systemRandom } from '../base/system.ts'
import { VERSION } from '../contracts/version.ts'
import { VERBS } from './catalog.ts'
import type { Core, SignalName, Terminal } from './core.ts'
import { EXIT } from './exit.ts'
import { runCli } from './program.ts'

/** Resolves with the exit code; the caller sets it and lets the process end by itself, so that output in a pipe is not cut off. */
export async function main(argv: readonly string[]): Promise<number> {
  const readers: Readers = { outlived: false }
  const core: Core = {
    env: process.env,
    cwd: process.cwd(),
    pid: process.pid,
    uid: process.getuid?.() ?? -1,
    called: process.env.npm_command === 'exec' || process.env.npm_lifecycle_event !== undefined ? 'npx holdfast' : 'holdfast',
    out: terminal(process.stdout, readers),
    err: terminal(process.stderr, readers),
    stdin: readStdin,
    stdinIsTty: isatty(0),
    clock: systemClock,
    random: systemRandom,
    onSignal,
    outliveReaders: () => {
      readers.outlived = true
    },
    exitNow: (code) => process.exit(code),
  }
  return runCli(argv, VERBS, VERSION, core)
}

/** What becomes of the process when the reader of its output goes away. */
interface Readers {
  outlived: boolean
}

function terminal(stream: NodeJS.WriteStream, readers: Readers): Terminal {
  let gone = false
  // A reader that went away wants no more: end quietly, as other tools do.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    gone = true
    if (!readers.outlived) process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.unexpected)
  })
  return {
    isTty: stream.isTTY === true,
    columns: () => (stream.isTTY ? stream.columns || 80 : Number.POSITIVE_INFINITY),
    rows: () => (stream.isTTY ? stream.rows || 24 : Number.POSITIVE_INFINITY),
    write: (text) =>
      new Promise((resolve) => {
        if (gone || stream.write(text)) return resolve()
        const done = () => {
          stream.off('drain', done)
          stream.off('close', done)
          stream.off('error', done)
          resolve()
        }
        for (const event of ['drain', 'close', 'error']) stream.once(event, done)
      }),
  }
}

async function readStdin(bytesMax: number): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    const piece = Buffer.from(chunk)
    bytes += piece.byteLength
    if (bytes > bytesMax) return undefined
    chunks.push(piece)
  }
  return Buffer.concat(chunks)
}

function onSignal(signals: readonly SignalName[], run: (signal: SignalName) => void): () => void {
  for (const signal of signals) process.on(signal, run)
  return () => {
    for (const signal of signals) process.off(signal, run)
  }
}
