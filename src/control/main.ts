// The control plane, built by hand, top to bottom: database, store, tokens, loops, API. What was started is ended newest first,
// also when a later step fails. Whoever calls this holds the lock on the data directory.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { Cleanup } from '../base/cleanup.ts'
import type { Clock, Random } from '../base/clock.ts'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import { newId, type OrgId } from '../contracts/ids.ts'
import { VERSION } from '../contracts/version.ts'
import type { TelemetryLogger } from '../telemetry/logger.ts'
import type { Telemetry } from '../telemetry/meter.ts'
import { createApi } from './api/api.ts'
import { hashSecret } from './api/caller.ts'
import type { ApiDeps, Check } from './api/deps.ts'
import { ensureSecret, makeDataDir } from './api/secret-files.ts'
import { CONTROL_DEFAULTS, type ControlConfig } from './config.ts'
import { LIMITS } from './limits.ts'
import { LOOPS_DEFAULTS, type LoopsConfig } from './loops/deps.ts'
import { type Loops, startLoops } from './loops/start.ts'
import { type Postgres, startPostgres } from './postgres/launch.ts'
import { bootstrap, type NewToken } from './store/orgs.ts'
import type { StoreTarget } from './store/pool.ts'
import { openStore, type Store } from './store/store.ts'

export interface ControlOptions {
  readonly dataDir: string
  /** Port 0 = any free one. */
  readonly listen: { readonly host: string; readonly port: number }
  /** null = the embedded PostgreSQL below the data directory. */
  readonly databaseUrl: string | null
  readonly log: TelemetryLogger
  readonly telemetry: Telemetry
  readonly clock: Clock
  readonly random: Random
  readonly config?: ControlConfig
  /** Settings of the loops that tests shorten. */
  readonly loops?: Partial<LoopsConfig>
  /** More lines of /health: what else runs in this process tree. */
  readonly checks?: ApiDeps['checks']
  /** Gives a start up that is under way, with `cancelled`; no effect afterwards. */
  readonly signal?: AbortSignal
}

export interface Control {
  /** Where it can be called, with the port in fact. */
  readonly url: string
  readonly agentToken: string
  readonly operatorTokenFile: string
  /** Ends streams, sessions, loops and the database; bounded. Safe to call again. */
  close(): Promise<void>
}

/** Resolves when requests are answered. On failure nothing of it is left running. */
export async function startControl(options: ControlOptions): Promise<Result<Control, Failure>> {
  const cleanup = new Cleanup()
  const close = () => closeAll(options, cleanup)
  const started = await start(options, cleanup).catch(async (error: unknown) => {
    // A bug, for the caller to tell; what was started ends all the same.
    await close()
    throw error
  })
  if (started.ok) return ok({ ...started.value, close })
  await close()
  return started
}

async function start(options: ControlOptions, cleanup: Cleanup): Promise<Result<Omit<Control, 'close'>, Failure>> {
  const { dataDir, clock, random, telemetry, config = CONTROL_DEFAULTS } = options
  const { meter } = telemetry
  const made = await makeDataDir(dataDir)
  if (!made.ok) return made
  const database = await openDatabase(options, cleanup)
  if (!database.ok) return database
  const store = await openStoreSoon(options, database.value.target, config)
  if (!store.ok) return store
  cleanup.add('store', () => store.value.close())
  const tokens = await ensureTokens(options, store.value)
  if (!tokens.ok) return tokens

  const loops = startLoops({
    store: store.value,
    clock,
    random,
    meter,
    log: options.log.child('loops'),
    config: loopsConfig(options, config),
  })
  cleanup.add('loops', () => loops.close())
  const api = await createApi({
    store: store.value,
    clock,
    random,
    meter,
    log: options.log.child('api'),
    limits: LIMITS,
    gc: config.gc,
    version: VERSION,
    defaultOrg: tokens.value.defaultOrg,
    renderMetrics: telemetry.render,
    checks: { loops: () => Promise.resolve(loopsCheck(loops)), ...postgresCheck(database.value.postgres, store.value), ...options.checks },
  })
  cleanup.add('api', () => api.close())
  const listening = await api.listen(options.listen)
  if (!listening.ok) return listening
  options.log.info('control plane started', { url: listening.value, database: options.databaseUrl === null ? 'embedded' : 'external' })
  const { agentToken, operatorTokenFile } = tokens.value
  return ok({ url: listening.value, agentToken, operatorTokenFile })
}

interface Database {
  readonly target: StoreTarget
  readonly postgres: Postgres | null
}

async function openDatabase(
  { dataDir, databaseUrl, clock, log, signal }: ControlOptions,
  cleanup: Cleanup,
): Promise<Result<Database, Failure>> {
  if (databaseUrl !== null) return ok({ target: { url: databaseUrl }, postgres: null })
  const postgres = await startPostgres({ dataDir, clock, log: log.child('postgres'), signal })
  if (!postgres.ok) return postgres
  cleanup.add('postgres', () => postgres.value.stop())
  return ok({ target: postgres.value.target, postgres: postgres.value })
}

/** A database that is just starting (a whole machine booting) is waited for; a wrong one is not. */
async function openStoreSoon(
  { clock, random, log, signal }: ControlOptions,
  target: StoreTarget,
  config: ControlConfig,
): Promise<Result<Store, Failure>> {
  const untilMs = clock.elapsedMs() + LIMITS.startStoreMs
  const givenUp = err(failure('cancelled', 'The start was given up.'))
  for (let told = false; ; told = true) {
    if (signal?.aborted) return givenUp
    const opening = openStore({
      target,
      clock,
      random,
      log: log.child('store'),
      connectionsMax: config.storeConnectionsMax,
      keysKeptMs: config.retention.keysMs,
    })
    const opened = await unlessGivenUp(opening, signal)
    if (opened === null) {
      // One that answers after all is let go.
      void opening.then(async (late) => void (late.ok && (await late.value.close())))
      return givenUp
    }
    if (opened.ok || opened.error.code !== 'store_unavailable' || clock.elapsedMs() > untilMs) return opened
    if (!told) log.warn('waiting for the database', { error: opened.error.detail })
    await clock.sleep(LIMITS.startStoreRetryMs, signal).catch(() => undefined)
  }
}

/** null when the signal came first. */
async function unlessGivenUp<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T | null> {
  if (signal?.aborted) return null
  let giveUp = () => {}
  const givenUp = new Promise<null>((resolve) => {
    giveUp = () => resolve(null)
    signal?.addEventListener('abort', giveUp, { once: true })
  })
  try {
    return await Promise.race([work, givenUp])
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}

interface Tokens {
  readonly agentToken: string
  readonly operatorTokenFile: string
  readonly defaultOrg: OrgId
}

/** The operator of this data directory and its local agent: files here, hashes in the store. */
async function ensureTokens(options: ControlOptions, store: Store): Promise<Result<Tokens, Failure>> {
  const { dataDir, clock, random } = options
  const operatorTokenFile = path.join(dataDir, 'operator.token')
  const operator = await ensureSecret(operatorTokenFile, random)
  if (!operator.ok) return operator
  const agent = await ensureSecret(path.join(dataDir, 'agent.token'), random)
  if (!agent.ok) return agent
  const token = (role: 'operator' | 'agent', secret: string): NewToken => ({
    id: newId.token(clock, random),
    name: options.databaseUrl === null ? role : `${role}-${suffixOf(secret)}`,
    orgId: null,
    role,
    hash: hashSecret(secret),
  })
  const tokens = [token('operator', operator.value), token('agent', agent.value)]
  const done = await store.write('system:start', (tx) => bootstrap(tx, { orgId: newId.org(clock, random), tokens }))
  return done.ok ? ok({ agentToken: agent.value, operatorTokenFile, defaultOrg: done.value.id }) : done
}

/** Several control planes on one database have a data directory each: their tokens must not replace each other's. */
const suffixOf = (secret: string): string => createHash('sha256').update(`name ${secret}`).digest('hex').slice(0, 8)

const loopsConfig = ({ loops }: ControlOptions, { retention, gc }: ControlConfig): LoopsConfig => ({
  ...LOOPS_DEFAULTS,
  eventsKeptMs: retention.eventsMs,
  keysKeptMs: retention.keysMs,
  deletedKeptMs: retention.deletedMs,
  gc,
  ...loops,
})

function loopsCheck(loops: Loops): Check {
  const health = loops.health()
  const degraded = health.filter((loop) => loop.status !== 'healthy')
  if (degraded.length > 0) return { status: 'degraded', detail: degraded.map((loop) => `${loop.name}: ${loop.detail}`).join('; ') }
  return { status: 'healthy', detail: health.map((loop) => `${loop.name}: ${loop.detail}`).join('; ') }
}

function postgresCheck(postgres: Postgres | null, store: Store): ApiDeps['checks'] {
  if (postgres === null) return {}
  const postgresHealth = async (): Promise<Check> => {
    // A process that is there is not yet one that answers: it may be stopped by a signal.
    const answer = await store.health()
    const pid = postgres.pid()
    if (pid === null) return { status: 'unhealthy', detail: 'it ended and is being started again' }
    const detail = `embedded, process ${pid}`
    return answer.ok ? { status: 'healthy', detail } : { status: 'unhealthy', detail: `${detail} lives: ${answer.error.detail}` }
  }
  return { postgres: postgresHealth }
}

async function closeAll({ clock, log }: ControlOptions, cleanup: Cleanup): Promise<void> {
  let cancel = () => {}
  const late = new Promise<'late'>((resolve) => {
    cancel = clock.after(LIMITS.closeMs, () => resolve('late'))
  })
  const done = await Promise.race([cleanup.run(), late])
  cancel()
  if (done === 'late') log.error('close takes too long', { deadline_ms: LIMITS.closeMs })
  else
    for (const { what, error } of done) log.error('close failed', { what, error: error instanceof Error ? error.message : String(error) })
}
