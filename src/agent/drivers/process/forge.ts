// Our end of the forge, the small process that forks keepers, and commands that nobody listens to (see keeper.pl). It is made at the
// first need and made anew when it was killed; keepers that it made live on without it, commands end with it. What it tells us of
// keepers is only a hint that saves waiting: the truth is in the files.
import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { errnoName, keeperFailure, spawnFailure } from './failures.ts'
import { spawnForge } from './keeper.ts'

/** How a keeper ended, or (`lost`) that nobody will tell because the forge itself was killed; it may live or may never have been made. */
interface KeeperEnd {
  readonly lost: boolean
  readonly failure: Failure
}
type OnEnd = (end: KeeperEnd) => void

/** What a command told of its end, in the words of keeper.pl, and empty when it was killed first; or why there is none. */
type OnOutcome = (told: Result<string, Failure>) => void

interface Waiting {
  /** Empty for a command. */
  readonly dir: string
  report: string
  end(lost: boolean, why: Failure): void
}

export interface Forge {
  /** Hands a job over; `onEnd` is called once when its keeper has ended, or when the forge was lost. */
  make(job: Readonly<Record<string, string>>, dir: string, onEnd: OnEnd): void
  /** Runs a command beside a workload, its output unheard; `onOutcome` is called once, when all of it has ended. The answer ends it early. */
  run(job: Readonly<Record<string, string>>, onOutcome: OnOutcome): () => void
  /** So that the first start does not pay for it. */
  warm(): void
  close(): void
}

export function openForge(perl: string, arch: string, dir: string): Forge {
  const waiting = new Map<number, Waiting>()
  let child: ChildProcess | undefined
  let tag = 0

  const lose = (gone: ChildProcess, why: Failure) => {
    if (child !== gone) return
    child = undefined
    const lost = [...waiting.values()]
    waiting.clear()
    for (const { end } of lost) end(true, why)
  }
  const ended = (line: string) => {
    const [first = '', ...words] = line.split(' ')
    const number = Number(first)
    const entry = waiting.get(number)
    if (!entry) return
    const [code = Number.NaN, signal] = words.map(Number)
    if (Number.isNaN(code)) {
      entry.report = words.join(' ')
      return
    }
    waiting.delete(number)
    entry.end(false, endOf(code, signal, entry.dir))
  }
  const make = (): ChildProcess => {
    const made = spawnForge(perl, arch, dir)
    child = made
    made.on('error', (error) => lose(made, spawnFailure(error, perl)))
    made.on('exit', () => lose(made, failure('start_failed', 'The process that makes keepers was killed.')))
    made.stdin?.on('error', () => undefined)
    eachLine(made.stdout, ended)
    // It must not keep this process alive: it is the other way round.
    made.unref()
    for (const stream of [made.stdin, made.stdout]) if (stream && 'unref' in stream && typeof stream.unref === 'function') stream.unref()
    return made
  }

  const hand = (job: Readonly<Record<string, string>>, entry: Waiting): number => {
    tag += 1
    waiting.set(tag, entry)
    const to = child ?? make()
    to.stdin?.write(framed(tag, job))
    return tag
  }

  return {
    make(job, dir, onEnd) {
      hand({ ...job, dir }, { dir, report: '', end: (lost, why) => onEnd({ lost, failure: why }) })
    },
    run(job, onOutcome) {
      const entry: Waiting = { dir: '', report: '', end: (lost, why) => onOutcome(lost ? err(lostCommand(why)) : ok(entry.report)) }
      const number = hand(job, entry)
      return () => {
        if (waiting.get(number) === entry) child?.stdin?.write(`${number} 0\n`)
      }
    },
    warm() {
      child ??= make()
    },
    close() {
      child?.stdin?.end()
      child = undefined
      // Only commands: a keeper that was lost would be made again.
      const commands = [...waiting.values()].filter((entry) => entry.dir === '')
      waiting.clear()
      for (const { end } of commands) end(true, failure('shutting_down', 'The agent is closing.'))
    },
  }
}

function eachLine(from: Readable | null, told: (line: string) => void): void {
  let rest = ''
  from?.on('data', (data: Buffer) => {
    const lines = (rest + data.toString('latin1')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) told(line)
  })
}

function framed(tag: number, job: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(job).map(([name, value]) => `${name}=${value}\0`)
  const payload = Buffer.from(entries.join(''))
  return Buffer.concat([Buffer.from(`${tag} ${payload.length}\n`), payload])
}

function endOf(code: number, signal: number | undefined, dir: string): Failure {
  if (signal) return failure('start_failed', `Its keeper was killed (signal ${signal}).`, { signal })
  return code ? keeperFailure(errnoName(code), dir) : failure('start_failed', 'Its keeper ended without a word.')
}

/** Nothing follows from it for the workload: not the command failed, but who ran it is gone. */
const lostCommand = (why: Failure): Failure => failure('runtime_unreachable', `The command was lost: ${why.detail}`, {}, why)
