// The control plane's loops, as they are, on the store in memory and a clock that moves when told.
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/base/seeded-random.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import { newId } from '../../src/contracts/ids.ts'
import { LOOPS_DEFAULTS } from '../../src/control/loops/deps.ts'
import { startLoops } from '../../src/control/loops/start.ts'
import { phaseOf, USAGE } from '../support/control-records.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { RecordingLog } from '../support/recording-log.ts'
import { newInstance, observedOf, seedNode, seedOrg } from '../support/store-seeds.ts'
import { must } from '../support/stores.ts'
import { MemoryStore } from './memory-store.ts'

const INSTANCES = 30
type Node = Awaited<ReturnType<typeof seedNode>>

/** Agents of few words: each second they beat and say that everything they were given runs. */
async function speak(store: MemoryStore, clock: ManualClock, nodes: readonly Node[]): Promise<void> {
  must(
    await store.recordHeartbeats(
      clock.wallMs(),
      nodes.map((node) => ({ ...node, usage: USAGE, facts: null })),
    ),
  )
  for (const { nodeId, epoch } of nodes) {
    const given = must(await store.read.desiredOfNode(nodeId))
    const phase = phaseOf('running', { reason: 'verified', sinceMs: clock.wallMs() })
    const items = given.map(({ desired: { id, generation, healSeq } }) => observedOf(id, { generation, healSeq, phase }))
    must(await store.write('system:link', (tx) => tx.recordObserved(nodeId, epoch, items)))
  }
}

async function run(seed: number) {
  const clock = new ManualClock()
  const random = seededRandom(seed)
  const log = new RecordingLog()
  const store = new MemoryStore({ clock, log })
  const org = await seedOrg(store)
  const nodes: Node[] = []
  for (const name of ['node-a', 'node-b', 'node-c']) nodes.push(await seedNode(store, name))
  const config = { ...LOOPS_DEFAULTS, fencedAfterMs: 30_000 }
  const meter = { count() {}, observe() {}, gauge() {} }
  const loops = startLoops({ store, clock, random, log, meter, config })
  for (let count = 0; count < INSTANCES; count += 1) {
    const id = newId.instance(clock, random)
    must(await store.write('token:ann', (tx) => tx.createInstance(newInstance(org, { id, name: `web-${count}` }))))
  }
  const pass = async (seconds: number, living: readonly Node[]) => {
    for (let second = 0; second < seconds; second += 1) {
      await clock.advance(1000)
      await speak(store, clock, living)
    }
  }
  const instances = async () => must(await store.read.listInstances({ scope: org, limit: 100 })).items
  return { clock, log, store, nodes, loops, pass, instances }
}

test('thirty instances are placed on three nodes; one node falls silent, its instances are lost, and healed onto the others', async () => {
  const { log, store, nodes, loops, pass, instances } = await run(1)
  const [silent, ...living] = nodes
  await pass(3, nodes)
  const placed = await instances()
  expect(placed.map((one) => one.phase.kind)).toEqual(Array.from({ length: INSTANCES }, () => 'running'))
  const hit = placed.filter((one) => one.nodeId === silent?.nodeId).map((one) => one.id)
  expect(hit).toHaveLength(10)

  await pass(26, living)
  const lost = (await instances()).filter((one) => one.phase.kind === 'lost')
  expect(lost.map((one) => one.id)).toEqual(hit)
  expect(log.said()).toContain('warn node lost')

  await pass(60, living)
  const after = await instances()
  expect(after.map((one) => one.phase.kind)).toEqual(Array.from({ length: INSTANCES }, () => 'running'))
  expect(after.filter((one) => one.nodeId === silent?.nodeId)).toEqual([])
  expect(after.filter((one) => one.healSeq === 1).map((one) => one.id)).toEqual(hit)
  const steps = must(await store.read.listTransitions(hit[0] as InstanceId)).map((step) => step.to.kind)
  expect(steps).toEqual(['placed', 'running', 'lost', 'pending', 'placed', 'running'])
  const cursors = must(await store.read.listEvents({ scope: null, after: 0, limit: 10_000 })).map((event) => event.cursor)
  expect(cursors).toEqual(Array.from({ length: cursors.length }, (_, index) => index + 1))
  await loops.close()
  await store.close()
})

test('the same seed gives the same history, to the last byte', async () => {
  const histories: string[] = []
  for (let round = 0; round < 2; round += 1) {
    const { store, nodes, loops, pass } = await run(7)
    await pass(40, nodes.slice(1))
    await loops.close()
    const told = JSON.stringify(must(await store.read.listEvents({ scope: null, after: 0, limit: 10_000 })))
    // The organisation has its id from the real clock: the seeds of tests are for real databases, too.
    histories.push(told.replaceAll(/org_[0-9a-z]{20}/g, 'org'))
    await store.close()
  }
  expect(histories[0]).toBe(histories[1])
})
