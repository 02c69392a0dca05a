// The agent of one node, wired together from parts that are given: its runtimes, its journals, its clock. `main.ts` gives the real ones,
// the simulator others. It needs no control plane to keep things running: it reads its journals, looks at what runs, and goes on from there.
import type { Cleanup } from '../base/cleanup.ts'
import type { Clock, Random } from '../base/clock.ts'
import { waitAtMost } from '../base/deadline.ts'
import type { Logger } from '../base/log.ts'
import { err, ok, type Result } from '../base/result.ts'
import { semaphore } from '../base/semaphore.ts'
import type { Desired, NodeFacts, RuntimeStatus } from '../contracts/agent-protocol.ts'
import { blockedText, type NodeBlocked } from '../contracts/blocked.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import type { Collected } from '../contracts/garbage.ts'
import type { NodeId } from '../contracts/ids.ts'
import type { Meter } from '../contracts/metrics.ts'
import type { ReliabilityConfig } from '../contracts/reliability.ts'
import type { Runtime } from '../contracts/spec.ts'
import { VERSION } from '../contracts/version.ts'
import type { TelemetryLogger } from '../telemetry/logger.ts'
import type { AgentConfig } from './config.ts'
import { connect } from './connect.ts'
import type { Driver, DriverEvent } from './drivers/driver.ts'
import { type ExecuteDeps, execute } from './execute/execute.ts'
import type { InstanceFiles } from './execute/files.ts'
import { createLedger, type Ledger } from './execute/ledger.ts'
import type { Ports } from './execute/ports.ts'
import type { Residue } from './execute/residue.ts'
import { LIMITS } from './limits.ts'
import type { Link } from './link/link.ts'
import type { Dial } from './link/socket.ts'
import { evidenceKeeper, makeCollecting } from './loop/collecting.ts'
import { blockedOf, type Entry, holdsReservation } from './loop/entry.ts'
import { Gate } from './loop/gate.ts'
import { registerGauges } from './loop/gauges.ts'
import { createHealthKeeper, type HealthKeeper, isGated } from './loop/health.ts'
import { type HookProgram, Hooks } from './loop/hooks.ts'
import { Instances } from './loop/instances.ts'
import { createReporter, type Reporter } from './loop/reporter.ts'
import { createScanner, type Scanner } from './loop/scanner.ts'
import { stopAll } from './loop/stop-all.ts'
import { Survey } from './loop/survey.ts'
import { createMonitor, type Monitor } from './monitor/monitor.ts'
import type { Readings } from './monitor/readings.ts'
import { lookAt, lookAtAll } from './observe/look.ts'
import { statusOf } from './observe/status.ts'
import { createProber } from './probes/prober.ts'
import { admit, allocatable, foldPressure } from './reconcile/admission.ts'
import { modesFor, recoveryPolicy } from './reconcile/policy.ts'

/** Everything of the world that an agent touches. */
export interface AgentParts {
  readonly nodeId: NodeId
  /** One life of this agent: a second live agent with the same node id is told from a reconnect of this one by it. */
  readonly bootId: string
  readonly hostname: string
  readonly os: string
  readonly nodeLabels: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly random: Random
  readonly log: TelemetryLogger
  readonly meter: Meter
  readonly config: AgentConfig
  readonly drivers: ReadonlyMap<Runtime, Driver>
  readonly files: InstanceFiles
  readonly residue: Residue
  readonly ports: Ports
  readonly readings: Readings
  /** Whose filesystems the monitor watches. */
  readonly paths: readonly string[]
  /** The operator's program for hooks; null or absent = none. */
  readonly hooks?: HookProgram | null
  /** null = work alone (used to stop workloads while nothing else runs). */
  readonly control: { readonly url: string; readonly token: string; readonly dial: Dial } | null
  /** What is opened here is closed with it, and before all that was added earlier. */
  readonly cleanup: Cleanup
}

export interface Agent {
  readonly nodeId: NodeId
  health(): {
    readonly status: 'healthy' | 'degraded'
    readonly detail: string
    readonly runtimes: readonly RuntimeStatus[]
    readonly connected: boolean
  }
  readonly instances: number
  /** The `[reliability]` section of the node from now on; restarts nothing. */
  setReliability(reliability: ReliabilityConfig): void
  /** Null = the control plane accepted this agent at the first try, else why not. Waits a few seconds at most. */
  accepted(): Promise<string | null>
  /** Stops every workload of this node; what is wished stays as it is. */
  stopWorkloads(deadlineMs: number): Promise<Result<void, Failure>>
  /** Ends the agent; workloads keep running. */
  close(): Promise<void>
}

/** Ready when what a former agent left has been read, and looked at in every runtime that answers; the control plane is dialled in the background. */
export async function runAgent(parts: AgentParts): Promise<Result<Agent, Failure>> {
  try {
    return await run(parts)
  } catch (error) {
    // A bug, for the caller to tell; what was opened is closed all the same.
    await parts.cleanup.run()
    throw error
  }
}

async function run(parts: AgentParts): Promise<Result<Agent, Failure>> {
  const { nodeId, clock, log, drivers, files, ports, control, cleanup } = parts
  const startedMs = clock.elapsedMs()
  const loaded = await files.load()
  if (!loaded.ok) {
    await cleanup.run()
    return loaded
  }
  const untold = await parts.residue.untold.load()
  if (!untold.ok) log.warn('collected resources not read', { error_code: untold.error.code, error: untold.error.detail })
  const made = assemble(parts)
  const { shared, instances, scanner } = made
  // Alone it is there to stop what runs; it must not first start again what an orderly end has stopped.
  if (control === null) instances.beginShutdown()
  instances.adopt(loaded.value)
  for (const { last } of loaded.value) if (holdsReservation(last.record)) ports.adopt(last.record.desired.id, last.record.hostPorts)
  // Without its events a runtime is looked at all the same, only less often.
  const watch = async (driver: Driver) => {
    try {
      await driver.watch(driverEvents(driver.runtime, instances, scanner))
    } catch (error) {
      log.error('runtime cannot be watched', { runtime: driver.runtime, error: error instanceof Error ? error.message : String(error) })
    }
  }
  await waitAtMost(clock, LIMITS.startPatienceMs, Promise.all([...drivers.values()].map(watch)))
  await scanner.start()
  log.info('agent started', { node_id: nodeId, adopted: loaded.value.length, duration_ms: clock.elapsedMs() - startedMs })
  // Alone it is there to stop what runs, and can tell nobody what else it did.
  if (control !== null) goOnline(made, control, untold.ok ? untold.value : [])
  return ok({
    nodeId,
    health: () => healthOf(parts, scanner, shared.link, blockedOf(instances.entries.values())),
    get instances() {
      return instances.entries.size
    },
    setReliability(reliability) {
      shared.settings.reliability = reliability
      instances.settingsChanged()
    },
    accepted: async () => (shared.link ? shared.link.accepted(LIMITS.acceptedPatienceMs) : 'it works alone'),
    stopWorkloads: (deadlineMs) => stopAll(clock, instances, deadlineMs),
    async close() {
      for (const { what, error } of await cleanup.run()) log.error('close failed', { what, error: String(error) })
    },
  })
}

/** The control plane is dialled, and what is garbage by its word is collected. */
function goOnline(made: ReturnType<typeof assemble>, control: NonNullable<AgentParts['control']>, untold: readonly Collected[]): void {
  const { shared, instances, scanner, reporter, survey } = made
  const { parts, log } = shared
  const send = (items: readonly Collected[]) => shared.link?.sendCollected(items) ?? false
  const given = { ...parts, log, config: parts.config.gc, limits: LIMITS, instances, scanner, survey, send }
  const collecting = makeCollecting(given, untold)
  parts.cleanup.add('garbage collection', () => collecting.close())
  const link = connect({
    ...parts,
    ...shared,
    control,
    linkLog: parts.log.child('link'),
    evidence: parts.residue.evidence,
    instances,
    reporter,
    collecting,
    facts: () => nodeFacts(shared, scanner),
  })
  shared.link = link
  parts.cleanup.add('link', () => link.close())
  collecting.collector.start()
}

/** What the parts share. `link` is null until the control plane is dialled; the others wire themselves to it late. */
interface Shared {
  readonly parts: AgentParts
  readonly log: Logger
  readonly monitor: Monitor
  readonly ledger: Ledger
  readonly closing: AbortController
  readonly settings: Settings
  link: Link | null
}

function assemble(parts: AgentParts) {
  const { clock, config, drivers, ports, cleanup, nodeId } = parts
  const log = parts.log.child('agent')
  const monitor = makeMonitor(parts, log)
  cleanup.add('monitor', () => monitor.close())
  const ledger = createLedger((ask, reservedMemoryBytes) =>
    admit(ask, { reservedMemoryBytes, allocatableMemoryBytes: monitor.capacity().allocatableMemoryBytes, pressure: monitor.pressure() }),
  )
  const settings: Settings = { reliability: config.reliability }
  const shared: Shared = { parts, log, monitor, ledger, closing: new AbortController(), settings, link: null }
  const { cores } = monitor.capacity()
  const startsMax = Math.max(4, LIMITS.startsPerCore * cores)
  const starts = new Map([...drivers.keys()].map((runtime) => [runtime, semaphore(startsMax)] as const))
  const evidence = { clock, log, files: parts.residue.evidence, limits: LIMITS }
  const beforeForget = evidenceKeeper(evidence, config.gc.evidenceMs)
  const executing: ExecuteDeps = { clock, limits: LIMITS, drivers, ledger, ports, starts, nodeId, beforeForget }
  const reporter = createReporter({
    clock,
    batchMax: LIMITS.reportBatchMax,
    observed: (id) => instances.observed(id),
    ids: () => instances.entries.keys(),
    send: (items) => shared.link?.sendObserved(items) ?? true,
  })
  const gate = new Gate({
    clock,
    log,
    get concurrencyMax() {
      return settings.reliability.recovery.concurrencyMax ?? LIMITS.recoveriesPerCore * cores
    },
    get breaker() {
      return settings.reliability.breaker
    },
    nudge: (id) => instances.nudge(id),
  })
  cleanup.add('gate', () => gate.close())
  const instances = makeInstances(shared, executing, gate, (entry) => {
    health.follow(entry)
    reporter.dirty(entry.record.desired.id, entry.record.phase.kind)
  })
  cleanup.add('instances', () => instances.close())
  cleanup.add('reporter', () => reporter.close())
  const health = makeHealth(shared, instances, reporter)
  registerGauges(parts.meter, instances.entries, clock, gate)
  const survey = new Survey([...drivers.keys()], instances.entries)
  const scanner = makeScanner(shared, instances, survey)
  cleanup.add('scanner', () => scanner.close())
  cleanup.add('requests', () => shared.closing.abort(new Error('the agent is closing')))
  return { shared, instances, scanner, reporter, survey }
}

function makeMonitor({ clock, config, meter, readings, paths }: AgentParts, log: Logger): Monitor {
  const { reservedMemoryBytes, safetyBufferRatio, cpuOvercommit, thresholds } = config
  return createMonitor({
    clock,
    log,
    meter,
    readings,
    paths,
    reservedMemoryBytes,
    safetyBufferRatio,
    cpuOvercommit,
    allocatable,
    foldPressure: (before, now) => foldPressure(before, now, thresholds),
  })
}

/** The section of the configuration that may change while the agent runs. */
interface Settings {
  reliability: ReliabilityConfig
}

const isChecking = ({ reliability }: Settings, desired: Desired): boolean => modesFor(reliability, desired).checks.mode === 'on'

function makeInstances(shared: Shared, executing: ExecuteDeps, gate: Gate, changed: (entry: Entry) => void): Instances {
  const { parts, log, ledger, settings } = shared
  const hooks = makeHooks(shared)
  const { clock, random, drivers, files, meter } = parts
  return new Instances({
    clock,
    random,
    log,
    meter,
    limits: LIMITS,
    look: async (id, runtime, signal) => {
      const driver = drivers.get(runtime)
      return driver
        ? lookAt(clock, driver, id, LIMITS.inspectDeadlineMs, signal)
        : { kind: 'unknown', failure: failure('runtime_unavailable', `This node has no ${runtime} runtime.`) }
    },
    execute: (record, action, signal) => execute(executing, record, action, signal),
    journal: (id, line) => files.append(id, line),
    removeFiles: (id) => files.remove(id),
    policyFor: ({ desired }) => recoveryPolicy(settings.reliability, desired),
    modesFor: ({ desired }) => modesFor(settings.reliability, desired),
    gate,
    gated: (record) => isChecking(settings, record.desired) && isGated(record.desired.spec),
    changed,
    ...(hooks && { moved: (record, transitions) => hooks.tell(record, transitions) }),
    adoptReservation: (record) => ledger.adopt(record.desired.id, record.desired.spec),
    releaseReservation: (id) => {
      ledger.release(id)
      executing.ports.release(id)
    },
  })
}

function makeHooks({ parts, log }: Shared): Hooks | null {
  const { hooks: program, clock, meter, nodeId, cleanup } = parts
  if (!program) return null
  const made = new Hooks({ clock, log, meter, nodeId, program, concurrencyMax: LIMITS.hooksMax, queueMax: LIMITS.hookQueueMax })
  cleanup.add('hooks', () => made.close())
  return made
}

function makeHealth({ parts, log, settings }: Shared, instances: Instances, reporter: Reporter): HealthKeeper {
  const { clock, random, drivers, cleanup, meter } = parts
  const prober = createProber({
    clock,
    random,
    log,
    get config() {
      return settings.reliability.healthCheck
    },
    drivers,
    onResult: (measured) => health.measured(measured),
  })
  cleanup.add('prober', () => prober.close())
  const health = createHealthKeeper({
    clock,
    log,
    meter,
    checking: (record) => isChecking(settings, record.desired),
    get config() {
      return settings.reliability.healthCheck
    },
    entry: (id) => instances.entries.get(id),
    watch: (subject) => prober.set(subject),
    unwatch: (id) => prober.drop(id),
    changed: (entry) => reporter.dirty(entry.record.desired.id, entry.record.phase.kind),
    nudge: (id) => instances.nudge(id),
    lookAgain: (id) => instances.lookAgain(id),
  })
  return health
}

function makeScanner(shared: Shared, instances: Instances, survey: Survey): Scanner {
  const { parts, log, closing, settings } = shared
  const { clock, drivers, meter } = parts
  const scanner: Scanner = createScanner({
    clock,
    log,
    meter,
    instances,
    runtimes: [...drivers.keys()],
    get detectionIntervalMs() {
      return settings.reliability.recovery.detectionIntervalMs
    },
    statusIntervalMs: LIMITS.runtimeStatusIntervalMs,
    startPatienceMs: LIMITS.startPatienceMs,
    list: async (runtime) => {
      const driver = drivers.get(runtime)
      return driver ? lookAtAll(clock, driver, LIMITS.listDeadlineMs, closing.signal) : err(failure('runtime_unavailable', runtime))
    },
    status: async (runtime) => statusOf(clock, drivers.get(runtime), runtime, LIMITS.statusDeadlineMs, closing.signal),
    heard: (runtime, listed) => survey.heard(runtime, listed),
    statusChanged: () => shared.link?.sendFacts(nodeFacts(shared, scanner)),
  })
  return scanner
}

const nodeFacts = ({ monitor, parts }: Shared, scanner: Scanner): NodeFacts => ({
  hostname: parts.hostname,
  os: parts.os,
  ...monitor.capacity(),
  labels: { ...parts.nodeLabels },
  runtimes: [...scanner.statuses()],
  agentVersion: VERSION,
})

function healthOf({ control }: AgentParts, scanner: Scanner, link: Link | null, blocked?: NodeBlocked): ReturnType<Agent['health']> {
  const runtimes = scanner.statuses()
  const connected = link?.connected() ?? false
  const usable = runtimes.some((status) => status.usable)
  const alone = connected ? 'connected' : 'not connected to the control plane; workloads keep running'
  return {
    status: usable && !blocked && (connected || control === null) ? 'healthy' : 'degraded',
    detail: `${usable ? alone : 'no runtime is usable'}${blocked ? `; ${blockedText(blocked)}` : ''}`,
    runtimes,
    connected,
  }
}

function driverEvents(runtime: Runtime, instances: Instances, scanner: Scanner) {
  return (event: DriverEvent) => {
    if (event.kind !== 'instance') scanner.reachable(runtime)
    else if (event.ended) instances.ended(event.id, event.ended)
    else instances.lookAgain(event.id)
  }
}
