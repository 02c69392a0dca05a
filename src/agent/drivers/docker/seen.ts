// From the engine's description of a container to what the agent sees. Pure but for /proc, which is handed in.
import type { Address } from '../../../contracts/agent-protocol.ts'
import type { CloudInitStatus, Exit } from '../../../contracts/phase.ts'
import type { Seen } from '../driver.ts'
import { portKey } from './create.ts'
import type { Mark } from './marks.ts'
import type { ProcessFacts } from './proc.ts'
import type { Inspected } from './schemas.ts'

export interface Around {
  readonly matches: boolean
  readonly cloudInit: CloudInitStatus | null
  /** When the engine last reported a kill for memory inside, if this driver heard it. */
  readonly oomAtMs: number | null
  /** Start as this driver last saw it, to notice a restart by somebody else. */
  readonly startedBefore: string | null
  processOf(pid: number, containerId: string): ProcessFacts | undefined
}

export function seenOf(container: Inspected, mark: Mark, around: Around): Seen {
  const { State: state } = container
  const alive = state.Running || state.Paused
  const facts = alive ? around.processOf(state.Pid, container.Id) : undefined
  const startedAtMs = timeOf(state.StartedAt)
  // What was heard of an earlier run of the same container says nothing about this one.
  const oomAtMs = around.oomAtMs !== null && around.oomAtMs >= (startedAtMs ?? 0) ? around.oomAtMs : null
  const exit = alive ? null : exitOf(state, oomAtMs)
  const restarted = alive && around.startedBefore !== null && around.startedBefore !== state.StartedAt
  return {
    id: mark.id,
    incarnation: mark.incarnation,
    nonce: mark.nonce,
    state: stateOf(state),
    // A stopped container has pid 0 in some states and its old one in others: only a living one has a pid.
    pid: alive && state.Pid > 1 ? state.Pid : null,
    startTime: alive && state.Pid > 1 ? (facts?.startTime ?? state.StartedAt) : null,
    exit,
    addresses: alive ? addressesOf(container, mark) : [],
    startedAtMs,
    notes: [
      ...(alive && oomAtMs !== null ? ['a process inside was killed because the memory limit was exceeded; the main process lives'] : []),
      ...(!alive && state.OOMKilled && exit?.oom === false
        ? ['a process inside was killed because the memory limit was exceeded before the main process ended']
        : []),
      ...(restarted ? [`restarted by somebody else at ${state.StartedAt}`] : []),
    ],
    cloudInit: around.cloudInit,
    matches: around.matches,
  }
}

/** The engine's words (created, running, paused, restarting, removing, exited, dead) in ours. */
function stateOf(state: Inspected['State']): Seen['state'] {
  if (state.Paused) return 'paused'
  if (state.Running) return 'running'
  return state.Status === 'created' ? 'created' : 'dead'
}

/** Longest time between a kill for memory and an end that it caused. */
const OOM_BEFORE_END_MS = 1000

/**
 * The engine folds signals into codes of 128 and more, as a shell does, so a program that exits with 137 by itself cannot be told from
 * one killed by signal 9: read as a signal. `OOMKilled` says that something inside was killed for memory at some time, not that this
 * ended the container: it counts when the main process was killed, or ended right after.
 */
export function exitOf(state: Inspected['State'], oomAtMs: number | null): Exit | null {
  if (state.Status === 'created') return null
  const atMs = timeOf(state.FinishedAt) ?? 0
  const signal = SIGNALS[state.ExitCode - 128] ?? null
  const killed = signal === 'SIGKILL'
  const heard = oomAtMs === null ? null : atMs - oomAtMs <= OOM_BEFORE_END_MS
  const oom = state.ExitCode !== 0 && (state.OOMKilled || oomAtMs !== null) && (heard ?? killed)
  return { code: signal === null ? state.ExitCode : null, signal, oom, atMs }
}

/** The exit that an end event tells by itself; only for a container of which no kill for memory was heard. */
export const plainExit = (exitCode: number, atMs: number): Exit => {
  const signal = SIGNALS[exitCode - 128] ?? null
  return { code: signal === null ? exitCode : null, signal, oom: false, atMs }
}

const SIGNALS: Readonly<Record<number, string>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  5: 'SIGTRAP',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  10: 'SIGUSR1',
  11: 'SIGSEGV',
  12: 'SIGUSR2',
  13: 'SIGPIPE',
  14: 'SIGALRM',
  15: 'SIGTERM',
}

/** The engine writes year 1 for "never". */
export function timeOf(text: string): number | null {
  const ms = Date.parse(text)
  return Number.isFinite(ms) && ms > 0 ? ms : null
}

function addressesOf(container: Inspected, mark: Mark): Address[] {
  const published = container.NetworkSettings
  const taken = new Set<string>()
  return mark.ports.flatMap((port) => {
    const bindings = published[portKey(port)] ?? []
    // One internal port may be published twice; a fixed host port finds its own, a chosen one takes what is left.
    const binding =
      bindings.find((one) => one.HostPort === String(port.host)) ??
      bindings.find(
        (one) => !taken.has(`${portKey(port)} ${one.HostPort}`) && !mark.ports.some((other) => String(other.host) === one.HostPort),
      )
    if (!binding) return []
    taken.add(`${portKey(port)} ${binding.HostPort}`)
    return [{ name: port.name, protocol: port.protocol, internal: port.internal, host: '127.0.0.1', port: Number(binding.HostPort) }]
  })
}
