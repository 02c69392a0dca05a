// Our end of the forge, the small process that forks keepers (see keeper.pl). It is made at the first need and made anew when it was
// killed; keepers that it made live on without it. What it tells us is only a hint that saves waiting: the truth is in the files.
import type { ChildProcess } from 'node:child_process'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { errnoName, keeperFailure, spawnFailure } from './failures.ts'
import { spawnForge } from './keeper.ts'

/** How a keeper ended, or (`lost`) that nobody will tell because the forge itself was killed; it may live or may never have been made. */
interface KeeperEnd {
  readonly lost: boolean
  readonly failure: Failure
}
type OnEnd = (end: KeeperEnd) => void

export interface Forge {
  /** Hands a job over; `onEnd` is called once when its keeper has ended, or when the forge was lost. */
  make(job: Readonly<Record<string, string>>, dir: string, onEnd: OnEnd): void
  /** So that the first start does not pay for it. */
  warm(): void
  close(): void
}

export function openForge(perl: string, arch: string, dir: string): Forge {
  const waiting = new Map<number, { readonly dir: string; readonly onEnd: OnEnd }>()
  let child: ChildProcess | undefined
  let tag = 0

  const lose = (gone: ChildProcess, why: Failure) => {
    if (child !== gone) return
    child = undefined
    const lost = [...waiting.values()]
    waiting.clear()
    for (const { onEnd } of lost) onEnd({ lost: true, failure: why })
  }
  const ended = (line: string) => {
    const [number, code, signal] = line.split(' ').map(Number)
    const entry = waiting.get(number ?? 0)
    if (!entry) return
    waiting.delete(number ?? 0)
    const how = signal
      ? failure('start_failed', `Its keeper was killed (signal ${signal}).`, { signal })
      : code
        ? keeperFailure(errnoName(code), entry.dir)
        : failure('start_failed', 'Its keeper ended without a word.')
    entry.onEnd({ lost: false, failure: how })
  }
  const make = (): ChildProcess => {
    const made = spawnForge(perl, arch, dir)
    child = made
    made.on('error', (error) => lose(made, spawnFailure(error, perl)))
    made.on('exit', () => lose(made, failure('start_failed', 'The process that makes keepers was killed.')))
    made.stdin?.on('error', () => undefined)
    let rest = ''
    made.stdout?.on('data', (data: Buffer) => {
      const lines = (rest + data.toString('latin1')).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) ended(line)
    })
    // It must not keep this process alive: it is the other way round.
    made.unref()
    for (const stream of [made.stdin, made.stdout]) if (stream && 'unref' in stream && typeof stream.unref === 'function') stream.unref()
    return made
  }

  return {
    make(job, runDir, onEnd) {
      const payload = Buffer.from(
        Object.entries({ ...job, dir: runDir })
          .map(([name, value]) => `${name}=${value}\0`)
          .join(''),
      )
      tag += 1
      waiting.set(tag, { dir: runDir, onEnd })
      const to = child ?? make()
      to.stdin?.write(Buffer.concat([Buffer.from(`${tag} ${payload.length}\n`), payload]))
    },
    warm() {
      child ??= make()
    },
    close() {
      child?.stdin?.end()
      child = undefined
      waiting.clear()
    },
  }
}
