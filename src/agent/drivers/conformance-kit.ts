// What the cases of the driver conformance suite are written with: the harness a driver brings, programs, and waiting.
import { durationText } from '../../base/duration-text.ts'
import type { Result } from '../../base/result.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import type { Failure } from '../../contracts/errors.ts'
import { type InstanceId, newId } from '../../contracts/ids.ts'
import type { InstanceSpec, Runtime } from '../../contracts/spec.ts'
import type { Driver, DriverEvent, Emit, ExecOptions, LogChunk, LogOptions, Seen, Target, Wanted } from './driver.ts'

/** What a workload of the suite does. `run`, `stubborn`, `print` and `dump` stay until ended; the first two print `ready` first. */
export type Program =
  | { readonly kind: 'run' }
  /** Ignores SIGTERM. */
  | { readonly kind: 'stubborn' }
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'print'; readonly stdout: Uint8Array; readonly stderr: Uint8Array }
  /** Prints its arguments, an empty one, then its environment as KEY=VALUE, each ended by NUL. */
  | { readonly kind: 'dump'; readonly args: readonly string[] }
  /** Standard input to standard output; only for exec. */
  | { readonly kind: 'cat' }
  /** No such file; no such name in PATH; a file that is no program. */
  | { readonly kind: 'missing' | 'unknown' | 'unexecutable' }

export interface Harness {
  readonly driver: Driver
  readonly runtime: Runtime
  command(program: Program): string[]
  /** Completes a spec with what the runtime needs, such as an image. */
  spec(spec: InstanceSpec): InstanceSpec
  /** Disposes the driver as a dying agent would leave it and opens another one on the same state. */
  reopen(): Promise<Driver>
  /** Ends the main process with SIGKILL, as a stranger would. */
  kill(seen: Seen): Promise<void>
  /** Something running beside us that is not ours, in the same runtime. */
  foreign(): Promise<{ alive(): Promise<boolean>; dispose(): Promise<void> }>
  /** Names of runtime objects (processes, containers, groups) of this harness that still exist. */
  leftovers(): Promise<readonly string[]>
  /** Removes everything, whatever the test left. */
  dispose(): Promise<void>
}

/** The programs for any machine or image with a POSIX shell. */
export function shellCommand(program: Program): string[] {
  // `wait` and not the sleep in front: a shell runs its traps only between commands, and as process 1 of a container it has no default action.
  const stay = "trap 'kill $! 2>/dev/null; exit 0' TERM; sleep 600 & wait $!"
  switch (program.kind) {
    case 'run':
      return ['/bin/sh', '-c', `echo ready; ${stay}`]
    case 'stubborn':
      return ['/bin/sh', '-c', "trap '' TERM; echo ready; while :; do sleep 600; done"]
    case 'exit':
      return ['/bin/sh', '-c', `exit ${program.code}`]
    case 'print':
      return ['/bin/sh', '-c', `printf '${octal(program.stdout)}'; printf '${octal(program.stderr)}' >&2; ${stay}`]
    case 'dump':
      return [
        '/bin/sh',
        '-c',
        `for a in "$@"; do printf '%s\\0' "$a"; done; printf '\\0'; cat /proc/self/environ; ${stay}`,
        'sh',
        ...program.args,
      ]
    case 'cat':
      return ['/bin/sh', '-c', 'exec cat']
    case 'missing':
      return ['/holdfast/no/such/command']
    case 'unknown':
      return ['holdfast-no-such-command']
    case 'unexecutable':
      return ['/etc/passwd']
  }
}

const octal = (bytes: Uint8Array) => [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')

/** The programs of the fake driver. */
export function fakeCommand(program: Program): string[] {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  switch (program.kind) {
    case 'exit':
      return ['fake', 'exit', String(program.code)]
    case 'print':
      return ['fake', 'print', base64(program.stdout), base64(program.stderr)]
    case 'dump':
      return ['fake', 'dump', ...program.args]
    default:
      return ['fake', program.kind]
  }
}

/** Everything off, nothing asked for. */
export const plainSpec = (runtime: Runtime, command: readonly string[]): InstanceSpec => ({
  runtime,
  image: null,
  command: [...command],
  cpuMillis: 100,
  memoryBytes: 64 * 2 ** 20,
  env: {},
  workingDir: null,
  ports: [],
  mounts: [],
  health: [],
  restart: 'always',
  stop: { signal: 'SIGTERM', graceMs: 10_000 },
  security: { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [], readOnlyRoot: false, user: null },
  networks: [],
  allowDataLoss: false,
  recoveryMode: null,
  userData: null,
  sshAuthorizedKeys: [],
  nodeSelector: {},
})

const DEADLINE_MS = 20_000

/** Waits until `look` gives something other than undefined or false; fails with `what` after the deadline. */
export async function until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const endMs = systemClock.elapsedMs() + DEADLINE_MS
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (systemClock.elapsedMs() > endMs) throw new Error(`not within ${durationText(DEADLINE_MS)}: ${what}`)
    await systemClock.sleep(5)
  }
}

export function must<T>(result: Result<T, Failure>): T {
  if (result.ok) return result.value
  throw new Error(`${result.error.code}: ${result.error.detail}`, { cause: result.error.cause })
}

/** One test's view of a driver. */
export class Bench {
  readonly harness: Harness
  readonly events: DriverEvent[] = []
  readonly signal = AbortSignal.timeout(DEADLINE_MS * 2)
  driver: Driver

  constructor(harness: Harness) {
    this.harness = harness
    this.driver = harness.driver
  }

  async watch(): Promise<void> {
    await this.driver.watch((event) => this.events.push(event))
  }

  want(program: Program, change: Partial<InstanceSpec> = {}, target: Partial<Target> = {}): Wanted {
    const id = target.id ?? newId.instance(systemClock, systemRandom)
    return {
      id,
      incarnation: target.incarnation ?? 1,
      nonce: target.nonce ?? systemRandom.text(24),
      name: 'conformance',
      spec: this.harness.spec({ ...plainSpec(this.harness.runtime, this.harness.command(program)), ...change }),
      labels: { purpose: 'conformance' },
      hostPorts: [],
      platformEnv: { HOLDFAST_INSTANCE_ID: id },
    }
  }

  async start(want: Wanted): Promise<Seen> {
    must(await this.driver.prepare(want, this.signal))
    return must(await this.driver.start(want, this.signal))
  }

  /** Started, and its traps are set. */
  async startReady(kind: 'run' | 'stubborn' = 'run', change: Partial<InstanceSpec> = {}): Promise<Wanted> {
    const want = this.want({ kind }, change)
    await this.start(want)
    if (this.harness.runtime !== 'fake') await until('ready is printed', async () => (await this.output(want)).includes('ready'))
    return want
  }

  async seen(target: Target): Promise<Seen | undefined> {
    const all = must(await this.driver.inspect(target.id, this.signal))
    return all.find((one) => one.incarnation === target.incarnation)
  }

  dead(target: Target): Promise<Seen> {
    return until('it is seen dead', async () => {
      const seen = await this.seen(target)
      return seen?.state === 'dead' && seen
    })
  }

  async stop(target: Target, graceMs = 10_000) {
    return must(await this.driver.stop(target, { signal: 'SIGTERM', graceMs }, this.signal))
  }

  async logs(target: Target, options: Partial<LogOptions> = {}): Promise<{ stdout: Buffer; stderr: Buffer }> {
    const chunks: LogChunk[] = []
    const all = { follow: false, tailLines: null, sinceMs: null, ...options }
    must(await this.driver.logs(target, all, (chunk) => void chunks.push(chunk), this.signal))
    return joined(chunks)
  }

  async output(target: Target): Promise<string> {
    return (await this.logs(target)).stdout.toString()
  }

  /** `meanwhile` is the reader: the next piece comes when it has taken the one before. */
  async exec(target: Target, program: Program, options: Partial<ExecOptions> = {}, meanwhile: Emit = () => undefined) {
    const chunks: LogChunk[] = []
    const all = { command: this.harness.command(program), stdin: null, timeoutMs: 10_000, user: null, ...options }
    const take: Emit = (chunk) => {
      chunks.push({ ...chunk, data: Uint8Array.from(chunk.data) })
      return meanwhile(chunk)
    }
    const result = await this.driver.exec(target, all, take, this.signal)
    return { result, ...joined(chunks) }
  }

  exits(id: InstanceId): number {
    return this.events.filter((event) => event.kind === 'instance' && event.id === id && event.what === 'exit').length
  }
}

export function joined(chunks: readonly LogChunk[]): { stdout: Buffer; stderr: Buffer } {
  const of = (stream: LogChunk['stream']) => Buffer.concat(chunks.filter((chunk) => chunk.stream === stream).map((chunk) => chunk.data))
  return { stdout: of('stdout'), stderr: of('stderr') }
}
