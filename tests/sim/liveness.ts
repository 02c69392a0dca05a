// What must be so in the end: all faults are over, and more time has passed than the longest wait that is documented. What should run
// runs, or rests in a state that says why; nothing is queued for ever; both sides say the same.

import { compileManifest } from '../../src/contracts/manifest-compile.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

export function checkEnd(world: World): void {
  const { database, ledger, nodes } = world
  const all = database.rows.instances.all().map(({ record }) => record)
  const complain = (who: string, details: Iterable<string>) => {
    for (const detail of details) ledger.violate('in the end', `${who}: ${detail}`)
  }
  for (const one of all) if (one.deletedAtMs === null) complain(`${one.id} ${one.name}`, instanceFaults(world, one))
  for (const node of nodes) complain(node.nodeId, nodeFaults(node, all))
  complain('envs', envFaults(world, all))
  for (const { id, generation, what } of world.people.acked) {
    const now = database.rows.instances.get(id)?.record
    if (!now || now.generation < generation)
      ledger.violate('no write is lost', `${what} of ${id} was acknowledged as generation ${generation}`)
  }
}

const livingOf = (node: SimNode) =>
  node.runtime.world.objects.filter(({ state, mismatch, removed }) => state !== 'dead' && !mismatch && !removed)

/** States in which something that is wished running may rest, with the reasons that say why. */
const RESTS: Readonly<Record<string, readonly string[]>> = {
  completed: ['exited_ok'],
  failed: ['recovery_off', 'exited_error', 'permanent_error'],
  paused: ['paused_outside'],
}

function* instanceFaults(world: World, one: InstanceRecord): Generator<string> {
  const { phase, want, nodeId } = one
  const node = world.nodes.find((each) => each.nodeId === nodeId)
  if (want === 'deleted') return yield `wished deleted, and still ${phase.kind} (${phase.reason})`
  if (!node) return yield* unplacedFaults(world, one)
  const living = livingOf(node).filter((object) => object.want.id === one.id)
  const written = world.ledger.recordOf(node, one.id)
  if (!written) return yield `${nodeId} does not know it; it is ${phase.kind}`
  if (written.phase.kind !== phase.kind || written.seq !== one.lastTransitionSeq || one.observedGeneration !== one.generation)
    yield `store: ${phase.kind}, transition ${one.lastTransitionSeq}, generation ${one.observedGeneration} of ${one.generation}; ${nodeId}: ${written.phase.kind}, ${written.seq}, ${written.desired.generation}`
  const shown = `wished ${want}, ${phase.kind} (${phase.reason}, ${phase.lastError?.code ?? 'no error'}), ${living.length} living`
  if (want === 'stopped') {
    if (phase.kind !== 'stopped' || living.length > 0) yield shown
    return
  }
  if (phase.kind === 'running' || phase.kind === 'paused') {
    if (living.length !== 1) yield shown
    if (living.some((object) => (object.state === 'paused') !== (phase.kind === 'paused'))) yield `${shown}; the object is not`
  } else if (living.length > 0) yield shown
  if (want === 'paused') {
    if (!['paused', 'stopped', 'completed', 'failed', 'quarantined'].includes(phase.kind)) yield shown
    return
  }
  if (phase.kind === 'running') {
    if (!written.verified) yield `${shown}; not verified`
    return
  }
  if (RESTS[phase.kind]?.includes(phase.reason)) return
  // What the healer has given up says so, and is a person's affair.
  if (phase.kind === 'failed' && world.database.rows.heals.get(one.id)?.record.givenUp) return
  yield shown
}

function* unplacedFaults(world: World, one: InstanceRecord): Generator<string> {
  if (one.want === 'stopped' && one.phase.kind !== 'running') return
  const room = world.database.rows.nodes.all().some(({ id, cordoned }) => {
    const used = world.database.rows.instances
      .all()
      .filter(({ record }) => record.nodeId === id && record.deletedAtMs === null && record.want !== 'stopped')
      .reduce((sum, { record }) => sum + record.spec.memoryBytes, 0)
    return !cordoned && 4 * 2 ** 30 - used >= one.spec.memoryBytes
  })
  if (room) yield `wished ${one.want}, has no node (${one.phase.kind}, ${one.phase.reason}), and there is room`
  else if (one.refusals.length === 0) yield 'no node takes it, and nothing says why'
}

function* nodeFaults(node: SimNode, all: readonly InstanceRecord[]): Generator<string> {
  const { life } = node
  if (!life?.agent) return yield 'its agent is not up'
  if (!life.agent.health().connected) yield 'not connected'
  for (const name of ['recoveries_queued', 'recoveries_running', 'recovery_breaker_open'] as const) {
    const value = life.meter.read(name)
    if (value !== 0) yield `${name} is ${value}`
  }
  const known = new Map(all.map((one) => [one.id, one]))
  for (const { want } of livingOf(node)) {
    const owner = known.get(want.id)
    if (!owner || owner.deletedAtMs !== null || owner.nodeId !== node.nodeId) yield `${want.id}/${want.incarnation} runs, and is nobody's`
  }
  for (const id of node.disk.journals.keys())
    if (known.get(id)?.deletedAtMs !== null) yield `the journal of ${id}, which is deleted, is still there`
}

function* envFaults({ database }: World, all: readonly InstanceRecord[]): Generator<string> {
  for (const env of database.rows.envs.all()) {
    const name = `${env.app}/${env.env}`
    if (env.deleting) {
      yield `${name} is still being deleted`
      continue
    }
    const compiled = compileManifest(env.manifest, env.env)
    if (!compiled.ok) continue
    const replicas = all.filter((one) => one.deletedAtMs === null && one.membership?.envId === env.id)
    const wanted = compiled.value.processes.reduce((sum, process) => sum + process.replicas, 0)
    if (replicas.length !== wanted) yield `${name}: ${replicas.length} replicas, ${wanted} wished`
    const hashes = new Set(compiled.value.processes.map((process) => process.hash))
    // What is paused is left alone.
    const older = replicas.filter((one) => one.phase.kind !== 'paused' && !hashes.has(one.membership?.manifestHash ?? ''))
    // A replica that fails or rests halts a rollout, visibly.
    const halted = replicas.some(({ phase, observed }) => phase.kind !== 'running' || observed?.health === 'unhealthy')
    if (older.length > 0 && !halted) yield `${older.map(({ name, phase }) => `${name} ${phase.kind}`).join(', ')} of an older manifest`
  }
}
