// The embedded PostgreSQL: one private server below the data directory, reached by its unix socket.
//
// Owns DIR/postgres. Promises: the server ends when this process ends, however it ends; a server that outlived us is adopted; a
// server that dies while we run is started again with backoff, and the caller's pool reconnects; a complete cluster is never
// initialised over. The caller must hold the lock on the data directory: one launcher per directory.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { type Backoff, backoffMs } from '../../base/backoff.ts'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { prepareBinaries } from './binaries.ts'
import { DATABASE_USER, ensureCluster, ensureRoot, ensureSocketDir, removeSocketDir } from './cluster.ts'
import { chooseLauncher } from './launcher.ts'
import { dirFailure, layoutOf } from './layout.ts'
import { processesOn, readPostmasterFile } from './residue.ts'
import { adoptServer, type Server, type ServerOptions, spawnServer, stopServer } from './server.ts'

export interface PostgresOptions {
  readonly dataDir: string
  readonly clock: Clock
  readonly log: Logger
  /** Gives a start up that is under way; no effect afterwards. */
  readonly signal?: AbortSignal | undefined
}

export interface Postgres {
  /** For `openStore({target})`. */
  readonly target: { readonly host: string; readonly database: string; readonly user: string }
  /** A server that was already running was taken over. */
  readonly adopted: boolean
  /** Of the server now running; changes when it had to be restarted, null while it is down. */
  pid(): number | null
  stop(): Promise<void>
}

const RESTART: Backoff = { baseMs: 100, factor: 2, maxMs: 10_000 }
/** A server that ran this long starts the backoff anew. */
const STABLE_MS = 60_000

/** Fails with `data_dir_unusable`, `disk_full` or `store_unavailable`; with `cancelled` when it was given up. Nothing is left of a failed one. Bounded. */
export async function startPostgres(options: PostgresOptions): Promise<Result<Postgres, Failure>> {
  const { clock, log, signal = new AbortController().signal } = options
  const layout = layoutOf(options.dataDir)
  // Without getuid there is no PostgreSQL for this platform either; binaries says so.
  const userId = process.getuid?.() ?? -1
  const launcher = await chooseLauncher({ PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }, userId)
  if (!launcher.ok) return launcher
  const root = await ensureRoot(layout, launcher.value)
  if (!root.ok) return root
  const binaries = await prepareBinaries(layout.lib)
  if (!binaries.ok) return binaries
  const cluster = await ensureCluster(layout, launcher.value, binaries.value, signal)
  if (!cluster.ok) return cluster
  const adopted = await adoptServer(cluster.value, clock, signal)
  if (!adopted.ok) return adopted
  const socketDir = adopted.value ? ok(adopted.value.socketDir) : await ensureSocketDir(layout, launcher.value)
  if (!socketDir.ok) return socketDir

  const server: ServerOptions = {
    cluster: cluster.value,
    socketDir: socketDir.value,
    launcher: launcher.value,
    binaries: binaries.value,
    clock,
    log,
    signal,
  }
  const first = adopted.value ? ok(adopted.value.server) : await start(server)
  if (!first.ok) {
    await removeSocketDir(layout)
    return first
  }
  log.info(adopted.value ? 'postgres adopted' : 'postgres started', { process_id: first.value.pid, launcher: launcher.value.kind })
  const supervisor = supervise(server, first.value)
  return ok({
    target: { host: socketDir.value, database: 'postgres', user: DATABASE_USER },
    adopted: adopted.value !== null,
    pid: supervisor.pid,
    stop: async () => {
      await supervisor.stop()
      await removeSocketDir(layout)
    },
  })
}

/** Never rejects: nobody but a loop waits for it. */
async function start(options: ServerOptions): Promise<Result<Server, Failure>> {
  try {
    return await startAnew(options)
  } catch (error) {
    return err(dirFailure('Cannot start the database', options.cluster, error))
  }
}

async function startAnew(options: ServerOptions): Promise<Result<Server, Failure>> {
  // A pid file whose number now belongs to a stranger would make the server refuse to start. It guards the shared memory of the
  // old server's children, so it goes only when none of them is left.
  const stale = await readPostmasterFile(options.cluster)
  if (stale !== null && (await processesOn(options.cluster)).length === 0)
    await rm(path.join(options.cluster, 'postmaster.pid'), { force: true })
  return spawnServer(options)
}

/** `running` while a server is up; `down` between its unexpected end and the next successful start; `stopping` for good. */
function supervise(options: ServerOptions, first: Server) {
  const { clock, log } = options
  const stopping = new AbortController()
  let current: Server | null = first

  const guard = async (): Promise<void> => {
    let failures = 0
    while (!stopping.signal.aborted) {
      const sinceMs = clock.elapsedMs()
      await current?.ended
      if (stopping.signal.aborted) return
      if (clock.elapsedMs() - sinceMs > STABLE_MS) failures = 0
      if (current !== null) {
        log.error('postgres ended unexpectedly', { process_id: current.pid, said: current.said() })
        current = null
      }
      await clock.sleep(backoffMs(RESTART, failures, 0), stopping.signal).catch(() => undefined)
      failures += 1
      if (stopping.signal.aborted) return
      const next = await start({ ...options, signal: stopping.signal })
      if (next.ok) {
        current = next.value
        log.info('postgres started', { process_id: next.value.pid, launcher: options.launcher.kind })
      } else log.error('postgres could not be started', { error: next.error.detail })
    }
  }
  const guarding = guard()
  const end = async (server: Server): Promise<void> => {
    const stopped = await stopServer(server, clock)
    if (!stopped.ok) log.error('postgres does not end', { process_id: server.pid })
  }
  return {
    pid: () => current?.pid ?? null,
    stop: async () => {
      stopping.abort()
      if (current !== null) await end(current)
      // A start that was under way when the stop came in is waited for, and what it started is stopped as well.
      await guarding
      if (current !== null) await end(current)
      current = null
    },
  }
}
