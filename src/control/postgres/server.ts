// One run of the postgres program: from spawn to its end. Either our child, or an adopted process that we can only watch.
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { answers } from './answers.ts'
import type { Binaries } from './binaries.ts'
import type { Launcher } from './launcher.ts'
import { SERVER_LIMITS } from './limits.ts'
import { isOn, processesOn, readPostmasterFile, sendSignal } from './residue.ts'

export interface Server {
  readonly pid: number
  /** Resolves when the process has ended, for whatever reason. */
  readonly ended: Promise<void>
  /** Last lines of its log, for a failure that explains itself. */
  said(): string
}

export interface ServerOptions {
  readonly cluster: string
  readonly socketDir: string
  readonly launcher: Launcher
  readonly binaries: Binaries
  readonly clock: Clock
  readonly log: Logger
  /** Gives the start up; what was begun is ended. */
  readonly signal: AbortSignal
}

const GIVEN_UP = failure('cancelled', 'The start of the database was given up.')

const SETTINGS = {
  // No TCP port: nothing to clash with, and the old OpenSSL of the bundle is never exposed.
  listen_addresses: '',
  unix_socket_permissions: '0700',
  // A small footprint for one machine: about 17 MB when idle.
  shared_buffers: '32MB',
  io_method: 'sync',
  max_connections: '60',
  max_parallel_workers_per_gather: '0',
  max_logical_replication_workers: '0',
  jit: 'off',
  max_wal_size: '256MB',
  logging_collector: 'off',
  log_destination: 'stderr',
  log_checkpoints: 'off',
  log_timezone: 'UTC',
} as const

export async function spawnServer(options: ServerOptions): Promise<Result<Server, Failure>> {
  const settings = { ...SETTINGS, unix_socket_directories: options.socketDir }
  const [command, args] = options.launcher.wrap(options.binaries.postgres, [
    '-D',
    options.cluster,
    ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
  ])
  const child = spawn(command, args, { env: { ...options.binaries.env }, stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' })
  const lines = tail(child, options.log)
  const ended = new Promise<void>((resolve) => {
    child.on('error', () => resolve())
    child.on('exit', () => resolve())
  })
  if (child.pid === undefined) return err(failure('store_unavailable', `PostgreSQL could not be started: ${command} does not run.`))
  const server = { pid: child.pid, ended, said: () => lines.join(' ') }
  const ready = await waitReady(server, options)
  if (ready.ok) return ok(server)
  const stopped = await stopServer(server, options.clock)
  if (!stopped.ok) options.log.error('postgres does not end', { process_id: server.pid })
  return ready
}

/** null when no live server that answers is on the cluster. Waits for one that is starting or ending, and for orphans of a killed one. */
export async function adoptServer(
  cluster: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Result<{ server: Server; socketDir: string } | null, Failure>> {
  const startMs = clock.elapsedMs()
  while (clock.elapsedMs() - startMs < SERVER_LIMITS.startDeadlineMs) {
    const file = await readPostmasterFile(cluster)
    const alive = await processesOn(cluster)
    if (alive.length === 0) return ok(null)
    if (file !== null && alive.includes(file.pid)) {
      // Looked at again after its answer: it may have been told to end in between.
      if (file.status === 'ready' && (await answers(file.socketDir)) && (await readPostmasterFile(cluster))?.status === 'ready')
        return ok({ server: { pid: file.pid, ended: watch(cluster, file.pid, clock), said: () => '' }, socketDir: file.socketDir })
    } else if (clock.elapsedMs() - startMs > SERVER_LIMITS.orphansMs) {
      for (const pid of alive) sendSignal(pid, 'SIGKILL')
    }
    await clock.sleep(SERVER_LIMITS.pollIntervalMs, signal).catch(() => undefined)
    if (signal?.aborted) return err(GIVEN_UP)
  }
  return err(
    failure(
      'store_unavailable',
      `A PostgreSQL is on ${cluster} and neither becomes ready nor ends; its processes: ${(await processesOn(cluster)).join(', ')}.`,
    ),
  )
}

/** Fast, then immediate, then by force; each step bounded. All acknowledged writes survive each of them. Fails when it lives on all the same. */
export async function stopServer(server: Server, clock: Clock): Promise<Result<void, Failure>> {
  const steps = [
    ['SIGINT', SERVER_LIMITS.fastStopMs],
    ['SIGQUIT', SERVER_LIMITS.immediateStopMs],
    ['SIGKILL', SERVER_LIMITS.killedMs],
  ] as const
  for (const [name, waitMs] of steps) {
    sendSignal(server.pid, name)
    if (await within(server.ended, waitMs, clock)) return OK
  }
  return err(failure('store_unavailable', `PostgreSQL (process ${server.pid}) does not end, not even when killed.`, { pid: server.pid }))
}

async function waitReady(server: Server, options: ServerOptions): Promise<Result<void, Failure>> {
  const startMs = options.clock.elapsedMs()
  let dead = false
  void server.ended.then(() => {
    dead = true
  })
  while (options.clock.elapsedMs() - startMs < SERVER_LIMITS.startDeadlineMs) {
    if (options.signal.aborted) return err(GIVEN_UP)
    if (dead) return err(failure('store_unavailable', `PostgreSQL ended while starting: ${server.said() || 'it said nothing'}.`))
    const file = await readPostmasterFile(options.cluster)
    if (file?.pid === server.pid && file.status === 'ready') return OK
    await options.clock.sleep(SERVER_LIMITS.pollIntervalMs, options.signal).catch(() => undefined)
  }
  return err(
    failure('store_unavailable', `PostgreSQL did not become ready within ${SERVER_LIMITS.startDeadlineMs / 1000} s: ${server.said()}.`),
  )
}

function tail(child: ChildProcess, log: Logger): readonly string[] {
  const lines: string[] = []
  if (child.stderr === null) return lines
  // A process that outlives us writes to a broken pipe, which it ignores.
  createInterface({ input: child.stderr }).on('line', (line) => {
    lines.push(line)
    if (lines.length > SERVER_LIMITS.saidLines) lines.shift()
    log.debug('postgres says', { line })
  })
  return lines
}

async function watch(cluster: string, pid: number, clock: Clock): Promise<void> {
  while (await isOn(cluster, pid)) await new Promise<void>((resolve) => void clock.after(SERVER_LIMITS.adoptedPollMs, resolve))
}

async function within(ended: Promise<void>, waitMs: number, clock: Clock): Promise<boolean> {
  const over = new AbortController()
  const timedOut = clock.sleep(waitMs, over.signal).then(
    () => false,
    () => true,
  )
  const result = await Promise.race([ended.then(() => true), timedOut])
  over.abort()
  return result
}
