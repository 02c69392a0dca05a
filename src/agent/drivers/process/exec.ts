// A command beside a running workload: its environment, directory, user and control group. A second kind of keeper runs it, is its
// subreaper, and ends with us or at our word, so that neither the command nor anything it forked outlives the request. A command that
// somebody listens to is a child of ours; one that nobody does (a check) is forked by the forge, at a tenth of the price.
import type { ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { durationText } from '../../../base/duration-text.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Emit, ExecOptions, LogChunk, Target } from '../driver.ts'
import { isPath, notRun } from '../not-run.ts'
import { CANCELLED, type Context, requireLive } from './context.ts'
import { errnoName, isPassing, spawnFailure } from './failures.ts'
import type { Forge } from './forge.ts'
import { pack, recallJob, spawnBeside } from './keeper.ts'
import { runOf } from './records.ts'
import { WOKEN } from './tracker.ts'
import { resolveUser } from './users.ts'

const WATCH_MS = 1000

/** A command under way, whoever forked it. */
interface Underway {
  /** Asks for its end; again, or too late: no effect. */
  kill(): void
  /** What it told of its end, when all of it has ended; never rejects. */
  readonly told: Promise<Result<string, Failure>>
}

export async function exec(
  context: Context,
  target: Target,
  options: ExecOptions,
  emit: Emit | null,
  signal: AbortSignal,
): Promise<Result<number, Failure>> {
  const live = await requireLive(context, target, signal)
  if (!live.ok) return live
  const { started, want, attended, paused } = live.value
  // In a frozen group the command would only hang.
  if (paused) return err(failure('wrong_state', `Incarnation ${target.incarnation} is paused.`))
  const { arch } = context
  const [perl, forge] = [context.perl(), context.forge()]
  if (perl === null || forge === null || arch === undefined)
    return err(failure('runtime_unavailable', 'There is no perl on this node.', { runtime: 'process' }))
  const [command] = options.command
  if (!command) return err(failure('exec_failed', 'The command is empty.'))
  const recalled = recallJob(started, attended, want.groups)
  if (!recalled) return err(failure('exec_failed', 'The environment of the process cannot be read.', { pid: started.pid }))
  const identity = options.user === null ? ok(recalled.identity) : resolveUser(options.user, process.getuid?.() ?? -1)
  if (!identity.ok) return err(failure('exec_failed', identity.error.detail, identity.error.fields))
  const job = { ...recalled, command: options.command, identity: identity.value }
  const run = (underway: Underway) => supervise(context, target, underway, options, signal)
  try {
    const done =
      emit === null && options.stdin === null
        ? await run(unheard(forge, pack(job, {})))
        : await run(heard(spawnBeside(perl, arch, pack(job, { parent: String(process.pid) })), options.stdin, emit))
    if (done.ok || !isNotRun(done.error)) return done
    return ok(await notRun(command, isPath(command) && existsSync(resolve(job.cwd, command)), emit))
  } catch (error) {
    return err(failure('exec_failed', spawnFailure(error, perl).detail, {}, error))
  }
}

/** The kernel refused the program itself, and would again. */
const isNotRun = ({ fields }: Failure): boolean => fields?.step === 'exec' && !isPassing(String(fields.errno))

/** By the forge, which is small: our own fork stops the event loop for milliseconds, and a Perl of its own takes ten of CPU. */
function unheard(forge: Forge, job: Readonly<Record<string, string>>): Underway {
  const { promise, resolve } = Promise.withResolvers<Result<string, Failure>>()
  return { kill: forge.run(job, resolve), told: promise }
}

function heard(child: ChildProcess, stdin: Uint8Array | null, emit: Emit | null): Underway {
  let report = ''
  for (const stream of ['stdout', 'stderr'] as const) forward(child[stream], stream, emit)
  child.stdio[3]?.on('data', (data: Buffer) => {
    report += data.toString('latin1')
  })
  // A command that does not read its input closes the pipe; that is its right.
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(stdin ?? undefined)
  const told = new Promise<Result<string, Failure>>((resolve) => {
    child.on('error', (error) => resolve(err(failure('exec_failed', spawnFailure(error, 'perl').detail, {}, error))))
    // `close` and not `exit`: all output has been passed on by then.
    child.on('close', () => resolve(ok(report)))
  })
  return { kill: () => void child.kill('SIGTERM'), told }
}

/** Waits for its end, and brings it about when the time is over, when nobody wants it any more, or when the instance has ended. */
async function supervise(
  context: Context,
  target: Target,
  { kill, told }: Underway,
  { command, timeoutMs }: ExecOptions,
  signal: AbortSignal,
): Promise<Result<number, Failure>> {
  let early: Failure | undefined
  const end = (why: Failure) => {
    early ??= why
    kill()
  }
  const onAbort = () => end(CANCELLED)
  const cancelTimeout = context.clock.after(timeoutMs, () =>
    end(
      failure('exec_failed', `It did not end within ${durationText(timeoutMs)} and was killed.`, {
        timed_out: true,
        timeout_ms: timeoutMs,
      }),
    ),
  )
  const cancelWatch = whileItRuns(context, target, () =>
    end(failure('exec_failed', 'The instance ended meanwhile.', { instance_ended: true })),
  )
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  const report = await told
  cancelTimeout()
  cancelWatch()
  signal.removeEventListener('abort', onAbort)
  if (early) return err(early)
  return report.ok ? outcome(report.value, command[0] ?? '') : report
}

/** What the forge or the keeper told of the end of a command. */
export function outcome(report: string, command: string): Result<number, Failure> {
  const [what, first = '', second = ''] = report.trim().split(' ')
  if (what === 'exit') return ok(Number(first))
  if (what === 'signal') return ok(128 + Number(first))
  if (what === 'failed') {
    const errno = errnoName(Number(second))
    return err(failure('exec_failed', `${JSON.stringify(command)} could not be run (${first}): ${errno}.`, { step: first, errno }))
  }
  return err(failure('exec_failed', 'Its keeper was killed before it could tell the outcome.'))
}

/** While the reader does not take what there is, the pipe is not read: the command then waits in its write, as behind any pipe. */
function forward(from: Readable | null, stream: LogChunk['stream'], emit: Emit | null): void {
  from?.on('data', (data: Buffer) => {
    const taken = emit?.({ stream, data, atMs: null })
    if (!taken) return
    from.pause()
    void taken.then(() => from.resume())
  })
}

/** Calls `onEnd` when the instance stops running. */
function whileItRuns(context: Context, target: Target, onEnd: () => void): () => void {
  const stopper = new AbortController()
  const watch = async () => {
    const ref = runOf(context.stateDir, target.id, target.incarnation)
    while (!stopper.signal.aborted) {
      if (context.inspector.look(ref).kind !== 'live') return onEnd()
      await context.tracker.next(ref, WATCH_MS, stopper.signal)
    }
  }
  watch().catch(onEnd)
  return () => stopper.abort(WOKEN)
}
