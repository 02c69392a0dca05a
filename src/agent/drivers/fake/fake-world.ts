// The runtime behind the fake driver: objects in memory that start, print, end and survive their agent, on the given clock.
// Nothing here fails by itself; faults are the business of fake-driver.ts.
//
// A command whose first word is `fake` is a small program (used by the conformance suite); any other command runs until signalled:
//   fake run                  until a signal ends it
//   fake stubborn             ignores every signal but SIGKILL
//   fake exit CODE            ends at once
//   fake fail-with SIGNAL     ends at once by that signal
//   fake print OUT ERR        prints both (base64), then runs
//   fake dump ARG…            prints its arguments and environment, each ended by NUL, then runs
import type { Clock } from '../../../base/clock.ts'
import type { Exit } from '../../../contracts/phase.ts'
import type { Seen, Target, Wanted } from '../driver.ts'

export interface FakeObject {
  readonly want: Wanted
  readonly pid: number
  readonly startedAtMs: number
  state: 'running' | 'paused' | 'dead'
  exit: Exit | null
  removed: boolean
  /** Set by a test: what runs is no longer what was started. */
  mismatch: boolean
  /** The last bytes of each, and how many came before them. */
  stdout: Buffer
  stderr: Buffer
  readonly dropped: { stdout: number; stderr: number }
}

export type FakeChange = 'started' | 'exit' | 'oom' | 'paused' | 'resumed' | 'removed' | 'output'

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGTERM: 15,
}
const LOG_BYTES_MAX = 2 ** 20

export class FakeWorld {
  readonly #clock: Clock
  readonly #listeners = new Set<(object: FakeObject, change: FakeChange, quiet: boolean) => void>()
  #objects: FakeObject[] = []
  #nextPid = 1000

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get objects(): readonly FakeObject[] {
    return this.#objects
  }

  find(target: Target): FakeObject | undefined {
    return this.#objects.find((object) => object.want.id === target.id && object.want.incarnation === target.incarnation)
  }

  listen(onChange: (object: FakeObject, change: FakeChange, quiet: boolean) => void): () => void {
    this.#listeners.add(onChange)
    return () => this.#listeners.delete(onChange)
  }

  /** Creates and starts; at most one object per incarnation for ever. `quiet` = the event is lost. */
  start(want: Wanted, quiet = false): FakeObject {
    const object: FakeObject = {
      want,
      pid: this.#nextPid,
      startedAtMs: this.#clock.wallMs(),
      state: 'running',
      exit: null,
      removed: false,
      mismatch: false,
      stdout: Buffer.alloc(0),
      stderr: Buffer.alloc(0),
      dropped: { stdout: 0, stderr: 0 },
    }
    this.#nextPid += 1
    this.#objects.push(object)
    this.#changed(object, 'started', quiet)
    this.#run(object)
    return object
  }

  signal(object: FakeObject, signal: string): void {
    if (object.state === 'dead') return
    const stubborn = object.want.spec.command[0] === 'fake' && object.want.spec.command[1] === 'stubborn'
    if (signal === 'SIGKILL' || !stubborn) this.end(object, { code: null, signal })
  }

  end(object: FakeObject, how: { code: number | null; signal: string | null; oom?: boolean }, quiet = false): void {
    if (object.state === 'dead') return
    object.state = 'dead'
    object.exit = { code: how.code, signal: how.signal, oom: how.oom ?? false, atMs: this.#clock.wallMs() }
    if (how.oom) this.#changed(object, 'oom', quiet)
    this.#changed(object, 'exit', quiet)
  }

  setPaused(object: FakeObject, paused: boolean): void {
    if (object.state === 'dead' || (object.state === 'paused') === paused) return
    object.state = paused ? 'paused' : 'running'
    this.#changed(object, paused ? 'paused' : 'resumed')
  }

  remove(object: FakeObject): void {
    if (object.removed) return
    object.removed = true
    this.#changed(object, 'removed')
  }

  forget(id: string): void {
    this.#objects = this.#objects.filter((object) => object.want.id !== id)
  }

  print(object: FakeObject, stream: 'stdout' | 'stderr', data: Uint8Array): void {
    const all = Buffer.concat([object[stream], data])
    object[stream] = all.subarray(-LOG_BYTES_MAX)
    object.dropped[stream] += all.length - object[stream].length
    this.#changed(object, 'output')
  }

  #run(object: FakeObject): void {
    const [first, verb, ...args] = object.want.spec.command
    if (first !== 'fake') return
    if (verb === 'exit') this.end(object, { code: Number(args[0]), signal: null })
    if (verb === 'fail-with') this.end(object, { code: null, signal: args[0] ?? null })
    if (verb === 'print') {
      this.print(object, 'stdout', Buffer.from(args[0] ?? '', 'base64'))
      this.print(object, 'stderr', Buffer.from(args[1] ?? '', 'base64'))
    }
    if (verb === 'dump') {
      const env = Object.entries({ ...object.want.spec.env, ...object.want.platformEnv }).map(([key, value]) => `${key}=${value}`)
      this.print(object, 'stdout', Buffer.from([...args, '', ...env].map((text) => `${text}\0`).join('')))
    }
  }

  #changed(object: FakeObject, change: FakeChange, quiet = false): void {
    for (const listener of this.#listeners) listener(object, change, quiet)
  }
}

export function seenOf(object: FakeObject): Seen {
  return {
    id: object.want.id,
    incarnation: object.want.incarnation,
    nonce: object.want.nonce,
    state: object.state,
    pid: object.state === 'dead' ? null : object.pid,
    startTime: object.state === 'dead' ? null : String(object.startedAtMs),
    exit: object.exit,
    addresses: object.want.spec.ports.map((port, index) => ({
      name: port.name,
      protocol: port.protocol,
      internal: port.internal || (object.want.hostPorts[index] ?? 0),
      host: '127.0.0.1',
      port: object.want.hostPorts[index] ?? port.host,
    })),
    startedAtMs: object.startedAtMs,
    notes: [],
    cloudInit: null,
    matches: !object.mismatch,
  }
}

/** What a shell would report: the code, or 128 and the signal's number. */
export const shellCode = (signal: string): number => 128 + (SIGNAL_NUMBERS[signal] ?? 0)
