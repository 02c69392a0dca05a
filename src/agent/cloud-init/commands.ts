// The part of cloud-init that needs the guest running: packages, then the script or runcmd, as cloud-init itself has it. A command is begun at most once per root
// filesystem: the state is written before and after each, so an agent that died in between neither repeats nor forgets one.
import { ok, type Result } from '../../base/result.ts'
import type { ErrorCode, Failure } from '../../contracts/errors.ts'
import type { CloudInitStatus, CloudInitStep } from '../../contracts/phase.ts'
import type { GuestCommand, GuestFiles, GuestRun } from './guest.ts'
import type { CloudPlan } from './plan.ts'

export interface CloudCommand extends GuestCommand {
  readonly step: string
}

/** What is kept in the instance's directory while cloud-init runs. `todo` may hold secrets: it is empty when all is done. */
export interface CloudState {
  readonly status: CloudInitStatus
  readonly todo: readonly CloudCommand[]
  /** The first of `todo` was begun. */
  readonly begun: boolean
}

const RUNCMD_TIMEOUT_MS = 600_000
const PACKAGES_TIMEOUT_MS = 900_000
export const OUTPUT_BYTES_MAX = 4096
/** The kernel refuses a single argument of 128 KiB; longer scripts go in by standard input. */
const ARGUMENT_BYTES_MAX = 100_000

const OUTAGES: ReadonlySet<ErrorCode> = new Set(['runtime_unreachable', 'runtime_unavailable'])
/** Of all steps together: it travels with every observation of the instance. */
const STATUS_BYTES_MAX = 65_536
const BRIEF_BYTES = 200

type Tool = 'apk' | 'apt' | 'dnf'
const TOOLS: readonly { readonly tool: Tool; readonly path: string }[] = [
  { tool: 'apk', path: '/sbin/apk' },
  { tool: 'apk', path: '/usr/bin/apk' },
  { tool: 'apt', path: '/usr/bin/apt-get' },
  { tool: 'dnf', path: '/usr/bin/dnf' },
]

/** Commands of the plan, and as steps already failed those that this image cannot run. */
export async function planCommands(
  plan: CloudPlan,
  files: GuestFiles,
  signal: AbortSignal,
): Promise<{ commands: CloudCommand[]; failed: CloudInitStep[]; unsupported: string[] }> {
  const commands: CloudCommand[] = []
  const failed: CloudInitStep[] = []
  const unsupported: string[] = []
  const cannot = (step: string, why: string) => {
    failed.push({ step, ok: false, exitCode: null, output: why })
    unsupported.push(`${step}: ${why}`)
  }
  const { packages, packageUpdate, packageUpgrade } = plan.config
  if (packages.length > 0 || packageUpdate || packageUpgrade) {
    const tool = await toolOf(files, signal)
    if (tool) commands.push(...packageCommands(tool, plan))
    else cannot(packages.length > 0 ? 'packages' : 'package_update', 'the image has none of apk, apt-get and dnf')
  }
  const needsShell = plan.config.runcmd.some((command) => command.kind === 'shell')
  const shell = needsShell ? await exists(files, '/bin/sh', signal) : true
  if (plan.script)
    commands.push({
      step: 'script',
      argv: [...plan.script.interpreter, '/dev/stdin'],
      stdin: plan.script.text,
      env: [],
      timeoutMs: RUNCMD_TIMEOUT_MS,
    })
  for (const [index, command] of plan.config.runcmd.entries()) {
    const step = `runcmd[${index}]`
    if (command.kind === 'argv') commands.push({ step, argv: command.argv, stdin: null, env: [], timeoutMs: RUNCMD_TIMEOUT_MS })
    else if (shell) commands.push({ step, ...shellCommand(command.text), env: [], timeoutMs: RUNCMD_TIMEOUT_MS })
    else cannot(step, 'the image has no /bin/sh')
  }
  return { commands, failed, unsupported }
}

const exists = async (files: GuestFiles, path: string, signal: AbortSignal): Promise<boolean> => {
  const there = await files.stat(path, signal)
  return there.ok && there.value !== null
}

const shellCommand = (text: string): Pick<CloudCommand, 'argv' | 'stdin'> =>
  Buffer.byteLength(text) <= ARGUMENT_BYTES_MAX
    ? { argv: ['/bin/sh', '-c', text], stdin: null }
    : { argv: ['/bin/sh', '/dev/stdin'], stdin: text }

async function toolOf(files: GuestFiles, signal: AbortSignal): Promise<{ tool: Tool; path: string } | undefined> {
  for (const one of TOOLS) if (await exists(files, one.path, signal)) return one
  return undefined
}

function packageCommands({ tool, path }: { tool: Tool; path: string }, plan: CloudPlan): CloudCommand[] {
  const { packages, packageUpdate, packageUpgrade } = plan.config
  const command = (step: string, ...argv: string[]): CloudCommand => ({
    step,
    argv: [path, ...argv],
    stdin: null,
    env: tool === 'apt' ? ['DEBIAN_FRONTEND=noninteractive'] : [],
    timeoutMs: PACKAGES_TIMEOUT_MS,
  })
  const yes = tool === 'apk' ? ['--no-cache'] : ['-y']
  const names = tool === 'dnf' ? packages.map((name) => name.replace('=', '-')) : packages
  return [
    // apt knows no package at all before its first update.
    ...(packageUpdate || tool === 'apt'
      ? [tool === 'dnf' ? command('package_update', 'makecache') : command('package_update', 'update')]
      : []),
    ...(packageUpgrade ? [command('package_upgrade', 'upgrade', ...yes)] : []),
    ...(packages.length > 0 ? [command('packages', tool === 'apk' ? 'add' : 'install', ...yes, ...names)] : []),
  ]
}

export interface CommandDeps {
  readonly run: GuestRun
  /** Durable before it resolves. */
  save(state: CloudState): Promise<Result<void, Failure>>
}

/** Runs what is left of `state`. Stops early, to be resumed, only when aborted or when the state cannot be written. */
export async function runCommands(deps: CommandDeps, state: CloudState, signal: AbortSignal): Promise<Result<CloudState, Failure>> {
  let now = state.begun
    ? finished(state, {
        ok: false,
        exitCode: null,
        output: 'begun before the agent stopped; whether it ended is not known, and it is not run twice',
      })
    : state
  for (;;) {
    const [command] = now.todo
    if (!command || signal.aborted) break
    const begun = { ...now, begun: true }
    const saved = await deps.save(begun)
    if (!saved.ok) return saved
    const result = await deps.run(command, signal)
    // The agent is going away: whoever comes next reads `begun`.
    if (signal.aborted) return ok(begun)
    now = finished(
      begun,
      result.ok
        ? { ok: result.value.exitCode === 0, exitCode: result.value.exitCode, output: result.value.output }
        : { ok: false, exitCode: null, output: result.error.detail },
    )
    // Nobody can run anything now: the rest waits for the runtime to come back, and whoever sees the guest next goes on.
    if (!result.ok && OUTAGES.has(result.error.code)) break
  }
  const saved = await deps.save(now)
  return saved.ok ? ok(now) : saved
}

function finished(state: CloudState, outcome: Omit<CloudInitStep, 'step'>): CloudState {
  const [command, ...todo] = state.todo
  const used = state.status.steps.reduce((sum, step) => sum + step.output.length, 0)
  const room = used + outcome.output.length <= STATUS_BYTES_MAX ? OUTPUT_BYTES_MAX : BRIEF_BYTES
  const steps = [...state.status.steps, ...(command ? [{ step: command.step, ...outcome, output: outcome.output.slice(-room) }] : [])]
  return { status: { ...state.status, steps, done: todo.length === 0 }, todo, begun: false }
}
