// Running a command inside a container: exec by the engine's API, streams demultiplexed, exit code asked for afterwards.
// The engine leaves an exec running when its connection goes; so a timeout and a caller who gave up kill it themselves, by the pid the
// engine names and only while that pid is in the container.
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { durationText } from '../../../base/duration-text.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Emit, LogChunk } from '../driver.ts'
import { isPath, notRun } from '../not-run.ts'
import type { Engine } from './engine.ts'
import { failureOf } from './engine-fault.ts'
import { FrameParser } from './frames.ts'
import { killTree } from './proc.ts'
import { ExecCreated, ExecInspected } from './schemas.ts'

export interface ExecCall {
  readonly containerId: string
  readonly command: readonly string[]
  readonly stdin: Uint8Array | null
  readonly env: readonly string[]
  /** Null = the user of the container. */
  readonly user: string | null
  readonly timeoutMs: number
  /** What becomes of the command when the caller's signal is aborted. */
  readonly onAbort: 'kill' | 'leave'
}

interface ExecDeps {
  readonly engine: Engine
  readonly clock: Clock
}

type End = 'closed' | 'timeout' | 'aborted' | 'silent'

/** How often the engine is asked whether a command that prints nothing still runs: a background child may hold its output open. */
const POLL_MS = 1000
/** Time for the rest of the output after the command itself has ended; what its reader takes to read does not count. */
const DRAIN_MS = 500
const DRAIN_LOOK_MS = 50
/** After the streams have closed, the engine needs a moment to learn the exit code. */
const EXIT_CODE_DEADLINE_MS = 5000
const KILL_DEADLINE_MS = 3000
/** The first output waits this long at most for the engine's word on whether it is the command's own. */
const REFUSED_DEADLINE_MS = 1000
const ENGINE_DEADLINE_MS = 20_000

export async function runExec(deps: ExecDeps, call: ExecCall, emit: Emit, signal: AbortSignal): Promise<Result<number, Failure>> {
  const { engine } = deps
  // The timeout is about everything: a check by exec must not wait for a hanging engine longer than for a hanging command.
  const deadlineMs = Math.min(call.timeoutMs, ENGINE_DEADLINE_MS)
  const created = await engine.json(
    {
      method: 'POST',
      path: `/containers/${call.containerId}/exec`,
      deadlineMs,
      body: {
        AttachStdin: call.stdin !== null,
        AttachStdout: true,
        AttachStderr: true,
        Tty: false,
        Cmd: call.command,
        Env: call.env,
        ...(call.user !== null && { User: call.user }),
      },
    },
    ExecCreated,
    signal,
  )
  if (!created.ok) {
    // 404: gone; 409: paused or not running.
    if (created.error.kind === 'status' && (created.error.status === 404 || created.error.status === 409))
      return err(failure('wrong_state', 'It does not run, so no command can run in it.'))
    return err(failureOf(created.error, 'prepare a command', 'exec_failed'))
  }
  const execId = created.value.Id
  const socket = await engine.hijack(
    { method: 'POST', path: `/exec/${execId}/start`, deadlineMs, body: { Detach: false, Tty: false } },
    signal,
  )
  if (!socket.ok) {
    const unknown = socket.error.kind === 'silent' || (socket.error.kind === 'cancelled' && call.onAbort === 'kill')
    if (unknown) await killExec(deps, execId, call.containerId)
    return err(failureOf(socket.error, 'run a command', 'exec_failed'))
  }
  const output = new Output(socket.value, deps.clock, emit, () => isRefused(deps, execId, signal))
  const end = await untilEnd(deps, execId, socket.value, output, call, signal)
  socket.value.destroy()
  // The command is killed before its reader has to be waited for.
  const late = end === 'timeout' ? await timedOut(deps, execId, call) : null
  if (end === 'aborted' && call.onAbort === 'kill') await killExec(deps, execId, call.containerId)
  await output.taken
  if (late) return err(late)
  if (end === 'aborted') return err(failure('cancelled', 'The command was cancelled.'))
  if (!output.intact) return err(failure('runtime_error', 'The Docker Engine sent output that could not be read.'))
  return output.refusal === null ? exitCodeOf(deps, execId, signal) : refused(deps, call, output.refusal, emit, signal)
}

/** The engine tells a command that it could not start by a code, and by its own words in place of the output. */
async function isRefused({ engine }: ExecDeps, execId: string, signal: AbortSignal): Promise<boolean> {
  const call = { method: 'GET', path: `/exec/${execId}/json`, deadlineMs: REFUSED_DEADLINE_MS } as const
  const state = await engine.json(call, ExecInspected, signal)
  return state.ok && !state.value.Running && state.value.Pid === 0 && REFUSED.has(state.value.ExitCode ?? 0)
}

const REFUSED: ReadonlySet<number> = new Set([126, 127])

async function refused(
  { engine }: ExecDeps,
  { containerId, command: [command = ''], user }: ExecCall,
  said: string,
  emit: Emit,
  signal: AbortSignal,
): Promise<Result<number, Failure>> {
  // The engine's code is the same for a user whom the container does not know.
  if (user !== null && !/^[0-9]+(:[0-9]+)?$/.test(user))
    return err(failure('exec_failed', `It could not be run as ${user}: ${said}.`, { user }))
  const file = { method: 'HEAD', path: `/containers/${containerId}/archive`, query: { path: command } } as const
  return ok(await notRun(command, isPath(command) && (await engine.call(file, signal)).ok, emit))
}

/** Takes the output from the socket, which is paused while the reader does not take what there is: then the command waits in its write. */
class Output {
  /** Resolves when everything read so far has been taken. */
  taken: Promise<void> = Promise.resolve()
  readonly #socket: Duplex
  readonly #clock: Clock
  readonly #emit: Emit
  readonly #isRefused: () => Promise<boolean>
  #asked = false
  /** The words of the engine, when the command did not run at all. */
  refusal: string | null = null
  readonly #ready: LogChunk[] = []
  readonly #parser = new FrameParser(({ stream, data }) => this.#ready.push({ stream, data, atMs: null }))
  #waitedMs = 0
  #waitsSinceMs: number | null = null

  constructor(socket: Duplex, clock: Clock, emit: Emit, isRefused: () => Promise<boolean>) {
    this.#socket = socket
    this.#clock = clock
    this.#emit = emit
    this.#isRefused = isRefused
  }

  get intact(): boolean {
    return this.#parser.intact
  }

  /** How long the reader was waited for until now, all in all. */
  get waitedMs(): number {
    return this.#waitedMs + (this.#waitsSinceMs === null ? 0 : this.#clock.elapsedMs() - this.#waitsSinceMs)
  }

  get waits(): boolean {
    return this.#waitsSinceMs !== null
  }

  push(chunk: Buffer): void {
    this.#parser.push(chunk)
    if (this.#ready.length === 0) return
    this.#socket.pause()
    this.#waitsSinceMs = this.#clock.elapsedMs()
    this.taken = this.#hand()
  }

  async #hand(): Promise<void> {
    const chunks = this.#ready.splice(0)
    if (!this.#asked && (await this.#isRefused())) this.refusal = ''
    this.#asked = true
    if (this.refusal !== null) this.refusal += chunks.map(({ data }) => Buffer.from(data).toString().trim()).join('')
    else for (const chunk of chunks) await this.#emit(chunk)
    this.#waitedMs = this.waitedMs
    this.#waitsSinceMs = null
    this.#socket.resume()
  }
}

/** Feeds the socket until it closes, time is up, the caller gives up, or the command has ended although its output is held open. */
function untilEnd(deps: ExecDeps, execId: string, socket: Duplex, output: Output, call: ExecCall, signal: AbortSignal): Promise<End> {
  return new Promise((resolve) => {
    let over = false
    let cancelPoll = () => {}
    const finish = (end: End) => {
      over = true
      cancelTimeout()
      cancelPoll()
      signal.removeEventListener('abort', onAbort)
      resolve(end)
    }
    const onAbort = () => finish('aborted')
    const cancelTimeout = deps.clock.after(call.timeoutMs, () => finish('timeout'))
    const poll = async () => {
      const state = await deps.engine.json({ method: 'GET', path: `/exec/${execId}/json` }, ExecInspected, signal)
      if (over) return
      if (state.ok && !state.value.Running) drain(deps.clock.elapsedMs() - output.waitedMs)
      else cancelPoll = deps.clock.after(POLL_MS, () => void poll())
    }
    const drain = (sinceMs: number) => {
      const leftMs = sinceMs + DRAIN_MS + output.waitedMs - deps.clock.elapsedMs()
      if (leftMs <= 0 && !output.waits) return finish('silent')
      cancelPoll = deps.clock.after(Math.max(leftMs, DRAIN_LOOK_MS), () => drain(sinceMs))
    }
    cancelPoll = deps.clock.after(POLL_MS, () => void poll())
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('data', (chunk: Buffer) => {
      output.push(chunk)
      if (!output.intact) finish('closed')
    })
    socket.on('end', () => finish('closed'))
    socket.on('close', () => finish('closed'))
    // Its outcome is asked for anyway; an error here only means that nothing more comes.
    socket.on('error', () => finish('closed'))
    if (call.stdin !== null) socket.end(call.stdin)
    return undefined
  })
}

async function exitCodeOf({ engine, clock }: ExecDeps, execId: string, signal: AbortSignal): Promise<Result<number, Failure>> {
  const untilMs = clock.elapsedMs() + EXIT_CODE_DEADLINE_MS
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    const state = await engine.json({ method: 'GET', path: `/exec/${execId}/json` }, ExecInspected, signal)
    if (!state.ok) return err(failureOf(state.error, 'tell the exit code', 'exec_failed'))
    if (!state.value.Running && state.value.ExitCode !== null) return ok(state.value.ExitCode)
    if (clock.elapsedMs() > untilMs) return err(failure('exec_failed', 'The connection to the command was lost while it ran.'))
    try {
      await clock.sleep(waitMs, signal)
    } catch {
      return err(failure('cancelled', 'The command was cancelled.'))
    }
  }
}

async function timedOut(deps: ExecDeps, execId: string, call: ExecCall): Promise<Failure> {
  const killed = await killExec(deps, execId, call.containerId)
  const rest = killed ? 'it was killed' : 'it could not be killed from here and may still run'
  return failure('exec_failed', `The command did not end within ${durationText(call.timeoutMs)}; ${rest}.`, {
    timed_out: true,
    timeout_ms: call.timeoutMs,
  })
}

/** With a deadline of its own: it is called when the caller's time is over. */
async function killExec({ engine }: ExecDeps, execId: string, containerId: string): Promise<boolean> {
  const own = new AbortController()
  const state = await engine.json({ method: 'GET', path: `/exec/${execId}/json`, deadlineMs: KILL_DEADLINE_MS }, ExecInspected, own.signal)
  if (!state.ok || state.value.ContainerID !== containerId) return false
  return !state.value.Running || killTree(state.value.Pid, containerId) > 0
}
