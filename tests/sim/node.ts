// A node: a machine with a disk, a runtime and a way to the control plane, and the lives of its agent, one after the other. What runs
// in the runtime outlives the agent; what is on the disk outlives both.
import { type Agent, runAgent } from '../../src/agent/assemble.ts'
import type { Target } from '../../src/agent/drivers/driver.ts'
import { createFakeDriver, type FakeControl } from '../../src/agent/drivers/fake/fake-driver.ts'
import type { FakeObject } from '../../src/agent/drivers/fake/fake-world.ts'
import type { Ports } from '../../src/agent/execute/ports.ts'
import { Cleanup } from '../../src/base/cleanup.ts'
import { ok } from '../../src/base/result.ts'
import { DEFAULT_GC } from '../../src/contracts/gc-config.ts'
import type { InstanceId, NodeId } from '../../src/contracts/ids.ts'
import { DEFAULT_RELIABILITY } from '../../src/contracts/reliability.ts'
import { memoryResidue } from '../support/memory-residue.ts'
import type { Chance } from './chance.ts'
import { LifeClock, MachineTime, type SimTime } from './clock.ts'
import { SimDisk } from './disk.ts'
import type { Ledger } from './ledger.ts'
import { dialThrough, type Listener, Path } from './network.ts'
import { type RuntimeMood, SimDriver, type Verb } from './runtime.ts'
import { SimLog, SimMeter } from './telemetry.ts'

export const NODE_MEMORY_BYTES = 4 * 2 ** 30
const DOWN_MS = 1500
/** So few at once that some have to wait. */
export const RECOVERIES_MAX = 3

/** Where an agent can be killed. */
export type TrapPoint = `append ${'before' | 'torn' | 'after'}` | `${Verb} ${'before' | 'after'}` | 'message' | 'load'

interface Trap {
  readonly point: TrapPoint
  /** Passes that it still lets through. */
  left: number
  readonly sprung: () => void
}

interface Life {
  readonly number: number
  readonly clock: LifeClock
  readonly driver: SimDriver
  readonly log: SimLog
  readonly meter: SimMeter
  agent: Agent | null
}

export interface NodeDeps {
  readonly time: SimTime
  readonly ledger: Ledger
  readonly chance: (...names: readonly (string | number)[]) => Chance
  readonly listener: (nodeId: NodeId) => Listener | undefined
}

export class SimNode {
  readonly nodeId: NodeId
  readonly machine: MachineTime
  readonly path = new Path()
  readonly disk: SimDisk
  readonly runtime: FakeControl
  readonly mood: RuntimeMood = { latencyMs: 3, listingMs: 0, eventsLost: false, refusesStarts: false, sick: new Set(), hanging: new Set() }
  life: Life | null = null
  lives = 0
  /** Objects of which a check has passed. */
  readonly passed = new WeakSet<FakeObject>()
  /** Outlives the agent, as its disk does. */
  readonly #residue = memoryResidue()
  readonly #startedMs = new WeakMap<FakeObject, number>()
  readonly #ill = new Map<InstanceId, number>()
  /** Ids of objects that are of no instance of this control plane. */
  readonly strangers = new Set<InstanceId>()
  /** When the present life of its agent began, and when its runtime last went away or came back; by the clock that never jumps. */
  bornMs = 0
  awayMs = 0
  /** It stays down until somebody boots it. */
  held = false
  readonly #deps: NodeDeps
  readonly #machineClock: LifeClock
  readonly #chance: Chance
  #traps: Trap[] = []
  #bootsLater = false

  constructor(nodeId: NodeId, deps: NodeDeps) {
    this.nodeId = nodeId
    this.#deps = deps
    this.#chance = deps.chance(nodeId)
    this.machine = new MachineTime(deps.time)
    this.#machineClock = new LifeClock(this.machine, deps.chance(nodeId, 'machine'))
    this.disk = new SimDisk(deps.chance(nodeId, 'disk'))
    const { control } = createFakeDriver({ clock: this.#machineClock })
    let isReachable = true
    const reachable = (on: boolean) => {
      if (on !== isReachable) this.awayMs = this.machine.elapsedMs()
      isReachable = on
      control.reachable(on)
    }
    this.runtime = { ...control, reachable }
    this.runtime.world.listen((object, change) => {
      if (change === 'started') this.#startedMs.set(object, this.machine.elapsedMs())
      deps.ledger.objectChanged(this, object, change)
    })
  }

  get up(): boolean {
    return this.life !== null && !this.life.clock.standing
  }

  boot(): void {
    if (this.life) return
    if (this.machine.suspended) {
      this.#bootsLater = true
      return
    }
    this.lives += 1
    this.bornMs = this.machine.elapsedMs()
    const { time, ledger, chance, listener } = this.#deps
    const number = this.lives
    const random = chance(this.nodeId, 'life', number)
    const clock = new LifeClock(this.machine, chance(this.nodeId, 'timers', number))
    const log = new SimLog((level, component, msg, fields) => ledger.said(this, level, component, msg, fields))
    const driver = new SimDriver(this.runtime.reopen(), clock, this.#machineClock, this.mood, chance(this.nodeId, 'runtime', number), {
      onCall: (verb, moment) => this.#pass(`${verb} ${moment}`),
      onStart: (want) => ledger.startAsked(this, want),
      onAnswer: (want) => ledger.startAnswered(this, want),
      onStop: (target) => {
        const object = this.#objectOf(target)
        if (object) ledger.stopAsked(this, object)
      },
      onRemove: (target) => {
        const object = this.#objectOf(target)
        if (object) ledger.removeAsked(this, object)
      },
      onCheck: (target, passed) => this.#checked(target, passed),
    })
    const life: Life = { number, clock, driver, log, meter: new SimMeter(), agent: null }
    this.life = life
    ledger.agentBegan(this)
    const files = this.disk.open(clock, {
      onAppend: (moment) => this.#pass(`append ${moment}`),
      onDurable: (id, line) => ledger.journalled(this, id, line),
      onRemoved: (id) => ledger.forgotten(this, id),
    })
    const network = chance(this.nodeId, 'network', number)
    const dial = () =>
      dialThrough({
        time,
        life: clock,
        path: this.path,
        chance: network,
        listener: () => listener(this.nodeId),
        delivered: (side, text) => {
          if (side === 'agent') ledger.agentHeard(this, text)
          this.#pass('message')
        },
      })
    const load: typeof files.load = async () => {
      this.#pass('load')
      return files.load()
    }
    void runAgent({
      nodeId: this.nodeId,
      bootId: `${this.nodeId}-disk.${number}`,
      hostname: this.nodeId,
      os: 'simulated',
      nodeLabels: {},
      clock,
      random,
      log,
      meter: life.meter,
      config: CONFIG,
      drivers: new Map([['fake', driver]]),
      files: { ...files, load },
      residue: this.#residue,
      ports: NO_PORTS,
      readings: READINGS,
      paths: [],
      control: { url: 'http://control.sim', token: 'token', dial },
      cleanup: new Cleanup(),
    }).then((started) => {
      if (started.ok) life.agent = started.value
    })
  }

  /** `kill -9`. What the kernel knows of it is closed; nobody says goodbye. */
  kill(backMs: number | null = DOWN_MS): void {
    const { life } = this
    // Nothing happens on a machine that is suspended.
    if (this.machine.suspended) return
    if (life) {
      life.clock.kill()
      life.driver.die()
      this.life = null
      this.#deps.ledger.agentEnded(this)
      for (const end of [...this.path.ends]) if (!end.alive) end.abandon()
    }
    if (backMs === null) this.held = true
    else this.#deps.time.after(backMs, () => this.held || this.boot())
  }

  /** The journals of some are gone when the agent comes back: a disk that forgets, or a hand that tidied up too much. */
  loseJournals(ids: readonly InstanceId[]): void {
    if (this.machine.suspended) return
    this.kill()
    for (const id of ids) {
      this.disk.journals.delete(id)
      this.disk.refused.add(id)
      this.#deps.ledger.journalLost(this, id)
    }
  }

  /** The machine loses its power: nothing of it is left but the disk. */
  crash(backMs: number): void {
    if (this.machine.suspended) return
    for (const end of [...this.path.ends]) if (end.side === 'agent') end.vanish()
    this.kill(null)
    this.#deps.ledger.byTheWorld(() => {
      for (const object of this.runtime.world.objects)
        if (object.state !== 'dead') this.runtime.world.end(object, { code: null, signal: 'SIGKILL' }, true)
    })
    this.#deps.time.after(backMs, () => {
      this.held = false
      this.boot()
    })
  }

  /** How long it has run by the clock of its machine, or had when it ended. */
  livedMs(object: FakeObject): number {
    return this.machine.elapsedMs() - (this.#startedMs.get(object) ?? 0)
  }

  /** When a check of it last failed or took long; undefined = never. */
  fellIll(id: InstanceId): number | undefined {
    return this.#ill.get(id)
  }

  makeIll(id: InstanceId, how: 'sick' | 'hanging'): () => void {
    this.mood[how].add(id)
    return () => void this.mood[how].delete(id)
  }

  /** The machine has been resumed. */
  wake(): void {
    this.#machineClock.thaw()
    this.life?.clock.thaw()
    if (this.#bootsLater) this.boot()
    this.#bootsLater = false
  }

  /** Kills the agent when it has passed that point so often. */
  trap(point: TrapPoint, passes: number, sprung: () => void): void {
    this.#traps.push({ point, left: passes, sprung })
  }

  clearTraps(): void {
    this.#traps = []
  }

  /** Of instances that live there. */
  ids(): readonly InstanceId[] {
    const living = this.runtime.world.objects.filter(({ state, want }) => state !== 'dead' && !this.strangers.has(want.id))
    return [...new Set(living.map(({ want }) => want.id))].sort()
  }

  #objectOf(target: Target): FakeObject | undefined {
    const object = this.runtime.world.find(target)
    return object?.want.nonce === target.nonce ? object : undefined
  }

  #checked(target: Target, passed: boolean): void {
    if (!passed) this.#ill.set(target.id, this.machine.elapsedMs())
    const object = this.runtime.world.find(target)
    if (passed && object) this.passed.add(object)
  }

  #pass(point: TrapPoint): void {
    const trap = this.#traps.find((one) => one.point === point)
    if (!trap || !this.life) return
    if (trap.left > 0) {
      trap.left -= 1
      return
    }
    this.#traps = this.#traps.filter((one) => one !== trap)
    trap.sprung()
    this.kill(DOWN_MS + this.#chance.between(0, 3000))
  }
}

const CONFIG = {
  reliability: { ...DEFAULT_RELIABILITY, recovery: { ...DEFAULT_RELIABILITY.recovery, concurrencyMax: RECOVERIES_MAX } },
  gc: DEFAULT_GC,
  reservedMemoryBytes: 0,
  safetyBufferRatio: 0,
  cpuOvercommit: 4,
  thresholds: { cpu: 0.95, memory: 0.95, disk: 0.95 },
}
const READINGS = {
  cores: 4,
  cpuTimes: () => null,
  memory: () => ({ totalBytes: NODE_MEMORY_BYTES, usedBytes: 0 }),
  diskRatio: () => 0.1,
  stalls: () => [],
}
const NO_PORTS: Ports = { resolve: async (_id, spec) => ok(spec.ports.map(({ host }) => host)), adopt() {}, release() {} }
