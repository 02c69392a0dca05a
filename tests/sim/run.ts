// One simulation, from a seed and a schedule to what was found.
import type { NodeId } from '../../src/contracts/ids.ts'
import { newId, NodeId as parseNodeId } from '../../src/contracts/ids.ts'
import { ACTS } from './acts.ts'
import { chance } from './chance.ts'
import { LifeClock, MachineTime, SimTime } from './clock.ts'
import { SimControl } from './control.ts'
import { FAULTS } from './faults.ts'
import { commitRules, journalRules, killRules, objectRules } from './invariants.ts'
import { Ledger, type Violation } from './ledger.ts'
import { checkEnd } from './liveness.ts'
import { MemoryDatabase } from './memory-database.ts'
import { MemoryStore } from './memory-store.ts'
import { SimNode } from './node.ts'
import { People } from './people.ts'
import { type Entry, endOf, quietFrom, type Size, scheduleOf } from './schedule.ts'
import { requestRules, stepRules } from './steps.ts'
import { Store } from './store-watch.ts'
import { Strangers } from './strangers.ts'
import { Voices } from './told.ts'
import { Turns } from './turns.ts'
import { withoutRealTime } from './unreal.ts'
import type { World } from './world.ts'

export interface Report {
  readonly seed: number
  readonly violations: readonly Violation[]
  readonly digest: string
  readonly events: number
  /** Of each kind of fault and act: how often it came, and how often it had an effect. */
  readonly fired: Readonly<Record<string, readonly [number, number]>>
  readonly transitions: Readonly<Record<string, number>>
  readonly outcomes: Readonly<Record<string, number>>
  readonly lines: readonly string[]
}

export interface Options {
  readonly seed: number
  readonly size: Size
  /** Absent = the one that the seed makes. */
  readonly schedule?: readonly Entry[]
}

class Found extends Error {}

export async function simulate(options: Options): Promise<Report> {
  const { seed, size } = options
  return withoutRealTime(async (breathe) => {
    const made = await makeWorld(seed, size)
    const { world, store, voices } = made
    const fired: Record<string, [number, number]> = {}
    for (const kind of [...Object.keys(FAULTS), ...Object.keys(ACTS)]) fired[kind] = [0, 0]
    for (const entry of options.schedule ?? scheduleOf(seed, size)) world.time.after(entry.atMs, () => carryOut(world, entry, fired))
    world.time.after(quietFrom(size), () => quiet(world))
    const stepped = () => {
      if (world.ledger.violations.length > 0) throw new Found()
    }
    try {
      await world.time.runUntil(endOf(size), stepped, breathe)
      store.checkEvents()
      for (const node of world.nodes) voices.checkCounters(node)
      checkEnd(world)
    } catch (error) {
      if (!(error instanceof Found)) throw error
    }
    const { ledger, time } = world
    return {
      seed,
      violations: ledger.violations,
      lines: ledger.lines,
      digest: ledger.digest(),
      events: time.events,
      fired,
      transitions: Object.fromEntries(store.transitions),
      outcomes: Object.fromEntries(voices.outcomes),
    }
  })
}

function carryOut(world: World, entry: Entry, fired: Record<string, [number, number]>): void {
  const { kind, number } = entry
  const tally = fired[kind] ?? [0, 0]
  fired[kind] = tally
  tally[0] += 1
  world.ledger.trace(`-- ${kind} (${number})`)
  const given = {
    world,
    chance: chance(world.seed, 'entry', number),
    hit: () => {
      tally[1] += 1
    },
  }
  FAULTS[kind]?.inject(given)
  ACTS[kind]?.carryOut(given)
}

/** All that was broken is mended; what lies in wait is taken away; whoever is down comes up. */
function quiet(world: World): void {
  world.ledger.trace('-- quiet')
  for (const mend of world.mend.splice(0)) mend()
  for (const node of world.nodes) {
    node.clearTraps()
    node.runtime.calm()
    node.held = false
    node.boot()
  }
  for (const control of world.controls) control.boot()
  for (const { nodeId } of world.nodes) void world.people.cordon(nodeId, false)
}

async function makeWorld(seed: number, size: Size) {
  const streams = (...names: readonly (string | number)[]) => chance(seed, ...names)
  const time = new SimTime(streams('ties'))
  const ledger = new Ledger(time)
  const database = new MemoryDatabase()
  const clock = new LifeClock(new MachineTime(time), streams('founder'))
  const founder = new MemoryStore({ clock, database })
  const orgs = [newId.org(clock, streams('org')), newId.org(clock, streams('other org'))] as const
  for (const [index, id] of orgs.entries())
    await founder.write('system:founder', (tx) => tx.createOrg({ id, name: index === 0 ? 'acme' : 'bolt' }))
  const [org] = orgs
  await founder.close()
  const store = new Store(database, ledger)
  const controls = ['control-a', 'control-b'].map(
    (name) => new SimControl(name, { time, ledger, database, defaultOrg: org, chance: streams }),
  )
  const balance = streams('balance')
  const listener = (_nodeId: NodeId) => balance.pick(controls.filter((one) => one.up))?.listener()
  const names = Array.from({ length: size.nodes }, (_, index) => parseNodeId.parse(`node-${index + 1}`))
  const nodes = names.map((nodeId) => new SimNode(nodeId, { time, ledger, chance: streams, listener }))
  const people = new People({ time, ledger, controls, orgs, chance: streams('people') })
  const voices = new Voices(ledger, time, store)
  const rules = [objectRules(ledger, store), killRules(ledger, store), journalRules(ledger), stepRules(ledger, store), voices]
  const strangers = new Strangers(ledger, store)
  ledger.watchers.push(...rules, strangers, new Turns(ledger))
  commitRules(ledger, store, nodes)
  requestRules(ledger, store, people)
  const world: World = { seed, time, ledger, database, nodes, controls, people, strangers, chance: streams, mend: [] }
  settleIn(world, size)
  return { world, store, voices }
}

const REPLICAS = 3

/** Everybody is up, and what shall run is asked for. */
function settleIn({ time, controls, nodes, people, chance: streams }: World, size: Size): void {
  const random = streams('settling')
  for (const part of [...controls, ...nodes]) time.after(random.between(0, 3000), () => part.boot())
  const apps = size.instances > 2 * REPLICAS ? ['shop', 'blog'] : []
  for (const app of apps) time.after(random.between(3000, 20_000), () => void people.deploy(app, REPLICAS, 1))
  for (let left = size.instances - apps.length * REPLICAS; left > 0; left -= 1)
    time.after(random.between(3000, 30_000), () => void people.launch())
}
