import { assert, expect, test } from 'vitest'
import { phaseOf } from '../../../tests/support/control-records.ts'
import { type LoopBench, loopBench, WAIT_MS } from '../../../tests/support/loop-bench.ts'
import { newInstance, seedNode, seedOrg, seedPlaced } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { ok } from '../../base/result.ts'
import type { ErrorCode } from '../../contracts/errors.ts'
import type { InstanceId, OrgId } from '../../contracts/ids.ts'
import { getHeal } from '../store/heals.ts'
import { changeDesired } from '../store/instance-changes.ts'
import { createInstance } from '../store/instances.ts'
import { closeSession } from '../store/nodes.ts'
import { markLost, placeInstance } from '../store/placement.ts'
import { healerLoop } from './healer-loop.ts'
import { schedulerLoop } from './scheduler-loop.ts'

type Node = Awaited<ReturnType<typeof seedNode>>

const failed = (given: LoopBench, code: ErrorCode = 'image_pull_failed') =>
  ({
    phase: phaseOf('failed', {
      reason: 'start_failed',
      sinceMs: given.clock.wallMs(),
      lastError: { code, detail: 'it broke', atMs: given.clock.wallMs() },
    }),
    health: 'unknown',
    pid: null,
  }) as const

/** Time passes until the healer may look at this instance again. */
async function untilDue(given: LoopBench, loops: { nudge(): void }, id: InstanceId): Promise<void> {
  const heal = await waitFor(async () => must(await getHeal(given.store.db, id)), { what: 'a row of work', deadlineMs: WAIT_MS })
  given.clock.shift(Math.max(0, heal.dueAtMs - given.clock.wallMs()) + 1)
  loops.nudge()
}
const attemptsOf = async (given: LoopBench, id: InstanceId) => must(await getHeal(given.store.db, id))?.attempts ?? null

describeStores('healer loop', (bench) => {
  async function brokenOne(given: LoopBench, code?: ErrorCode): Promise<{ id: InstanceId; node: Node; org: OrgId }> {
    const node = await seedNode(given.store)
    const org = await seedOrg(given.store)
    const { id } = await seedPlaced(given.store, org, node.nodeId)
    await given.observe(node, id, failed(given, code))
    return { id, node, org }
  }

  test('C21: a failed provisioning is healed after the safety delay, once, by system:healer, with attempt, cause and outcome in the audit', async () => {
    const given = await loopBench(bench)
    const { id, node } = await brokenOne(given)
    const before = await given.get(id)
    const loops = given.startOnly([healerLoop])
    const heal = await waitFor(async () => must(await getHeal(given.store.db, id)), { what: 'a row of work', deadlineMs: WAIT_MS })
    expect(heal.dueAtMs - heal.createdAtMs).toBe(5000)
    expect((await given.get(id)).healSeq).toBe(0)
    await untilDue(given, loops, id)
    const healed = await given.until(id, 'healed', (one) => one.healSeq === 1)
    expect(healed).toMatchObject({ generation: before.generation + 1, want: 'running', nodeId: node.nodeId })
    expect(await given.audits()).toMatchObject([
      {
        actor: 'system:healer',
        action: 'heal',
        target: id,
        data: { result: 'attempted', attempt: 1, cause: 'image_pull_failed', how: 'restart' },
      },
    ])

    // It runs; ten stable minutes later the work is done.
    await given.observe(node, id, { phase: phaseOf('running', { reason: 'verified', sinceMs: given.clock.wallMs() }) })
    given.clock.shift(600_001)
    loops.nudge()
    await waitFor(async () => must(await getHeal(given.store.db, id)) === null, { what: 'work done', deadlineMs: WAIT_MS })
    expect((await given.audits())[0]).toMatchObject({ data: { result: 'succeeded', attempt: 1 } })
    expect(await given.events(id)).toContain('heal.succeeded')
  })

  test('C19: two loops and a hundred nudges heal it once: never two in flight', async () => {
    const given = await loopBench(bench)
    const { id, node, org } = await brokenOne(given)
    const loops = [given.startOnly([healerLoop]), given.startOnly([healerLoop])]
    await untilDue(given, loops[0]!, id)
    for (let index = 0; index < 100; index += 1) for (const one of loops) one.nudge()
    await given.until(id, 'healed', (one) => one.healSeq === 1)
    // The agent has not answered. Within the backoff the healer looks again and again (it heals another one meanwhile), and waits.
    const { id: other } = await seedPlaced(given.store, org, node.nodeId)
    await given.observe(node, other, failed(given))
    await untilDue(given, loops[0]!, other)
    for (const one of loops) one.nudge()
    await given.until(other, 'the other one healed', (one) => one.healSeq === 1)
    expect(await attemptsOf(given, id)).toBe(1)
    expect((await given.get(id)).healSeq).toBe(1)
  })

  test('C15: closed during the safety delay it does nothing; the next one goes on where it was', async () => {
    const given = await loopBench(bench)
    const { id } = await brokenOne(given)
    const loops = given.startOnly([healerLoop])
    const heal = await waitFor(async () => must(await getHeal(given.store.db, id)), { what: 'a row of work', deadlineMs: WAIT_MS })
    await loops.close()
    given.clock.shift(60_000)
    expect((await given.get(id)).healSeq).toBe(0)
    expect(must(await getHeal(given.store.db, id))).toEqual(heal)
    expect(await given.audits()).toEqual([])
    given.startOnly([healerLoop])
    await given.until(id, 'healed by the next one', (one) => one.healSeq === 1)
    expect(await attemptsOf(given, id)).toBe(1)
  })

  test('C18: the user stops it during the delay: the heal aborts', async () => {
    const given = await loopBench(bench)
    const { id } = await brokenOne(given)
    const loops = given.startOnly([healerLoop])
    const heal = await waitFor(async () => must(await getHeal(given.store.db, id)), { what: 'a row of work', deadlineMs: WAIT_MS })
    must(await given.store.write('token:ann', (tx) => changeDesired(tx, id, () => ok({ verb: 'stop', want: 'stopped' }))))
    given.clock.shift(heal.dueAtMs - given.clock.wallMs() + 1)
    loops.nudge()
    await waitFor(async () => must(await getHeal(given.store.db, id)) === null, { what: 'work dropped', deadlineMs: WAIT_MS })
    expect(await given.get(id)).toMatchObject({ want: 'stopped', healSeq: 0 })
    expect(await given.audits()).toEqual([])
  })

  test('C16, C17: five attempts with doubling waits, then given up visibly; a new wish of a person starts afresh', async () => {
    const given = await loopBench(bench)
    const { id, node } = await brokenOne(given)
    const loops = given.startOnly([healerLoop])
    const waits: number[] = []
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      await untilDue(given, loops, id)
      await given.until(id, `attempt ${attempt}`, (one) => one.healSeq === attempt)
      const heal = must(await getHeal(given.store.db, id))
      waits.push((heal?.dueAtMs ?? 0) - given.clock.wallMs())
      await given.observe(node, id, failed(given))
    }
    for (const [index, longestMs] of [30_000, 60_000, 120_000, 240_000, 300_000].entries()) {
      expect(waits[index]).toBeLessThanOrEqual(longestMs)
      expect(waits[index]).toBeGreaterThan(longestMs * 0.75)
    }
    await untilDue(given, loops, id)
    await waitFor(async () => must(await getHeal(given.store.db, id))?.givenUp, { what: 'given up', deadlineMs: WAIT_MS })
    expect((await given.events(id)).filter((type) => type === 'heal.given_up')).toHaveLength(1)
    expect((await given.audits())[0]).toMatchObject({ actor: 'system:healer', data: { result: 'given_up', attempt: 5 } })
    expect(given.log.said()).toContain('error healing given up')

    must(await given.store.write('token:ann', (tx) => changeDesired(tx, id, () => ok({ verb: 'recover', recover: true }))))
    await given.observe(node, id, failed(given))
    await waitFor(async () => (await attemptsOf(given, id)) === 0, { what: 'a fresh budget', deadlineMs: WAIT_MS })
    await untilDue(given, loops, id)
    await given.until(id, 'healed again', (one) => one.healSeq === 6)
  })

  test('C12: a permanent error is never tried, and neither is what the node still has in hand', async () => {
    const given = await loopBench(bench)
    const { id, node, org } = await brokenOne(given, 'image_not_found')
    const others: InstanceId[] = []
    for (const kind of ['recovering', 'crash_looping', 'quarantined', 'degraded'] as const) {
      const { id: other } = await seedPlaced(given.store, org, node.nodeId)
      const phase = { ...phaseOf('failed', { sinceMs: given.clock.wallMs() }), kind, nextAttemptAtMs: 0, untilMs: 0 } as never
      await given.observe(node, other, { phase })
      others.push(other)
    }
    const loops = given.startOnly([healerLoop])
    await untilDue(given, loops, id)
    await waitFor(async () => must(await getHeal(given.store.db, id))?.givenUp, { what: 'put aside', deadlineMs: WAIT_MS })
    for (const other of others) expect(must(await getHeal(given.store.db, other))).toBe(null)
    for (const one of [id, ...others]) expect((await given.get(one)).healSeq).toBe(0)
    expect(await given.events(id)).not.toContain('heal.given_up')
  })

  test('C20: a thousand failed instances of one organisation: another one’s is healed among the first dozens', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store, 'node-a', { allocatableMemoryBytes: 2 ** 40 })
    const [many, one] = [await seedOrg(given.store, 'many'), await seedOrg(given.store, 'one')]
    for (let batch = 0; batch < 10; batch += 1)
      must(
        await given.store.write('system:test', async (tx) => {
          for (let index = 0; index < 100; index += 1) {
            const made = must(await createInstance(tx, newInstance(many)))
            must(await placeInstance(tx, made.id, node.nodeId))
          }
          return ok(undefined)
        }),
      )
    const phase = JSON.stringify(failed(given).phase)
    await given.store.db.updateTable('instances').set({ phase, state: 'failed', observed_generation: 2 }).execute()
    const late = await seedPlaced(given.store, one, node.nodeId)
    await given.observe(node, late.id, failed(given))
    const loops = given.startOnly([healerLoop])
    const count = () =>
      given.store.db
        .selectFrom('heals')
        .select(({ fn }) => fn.countAll<number>().as('rows'))
        .executeTakeFirstOrThrow()
    await waitFor(async () => Number((await count()).rows) === 1001, { what: 'all rows of work', deadlineMs: 30_000 })
    given.clock.shift(60_000)
    loops.nudge()
    await given.until(late.id, 'healed', (instance) => instance.healSeq === 1)
    const heals = (await given.audits()).filter((row) => row.action === 'heal').reverse()
    const turn = heals.findIndex((row) => row.target === late.id)
    // Order, not wall time: one claim takes each organisation's first before anybody's second.
    assert(turn >= 0 && turn < 16, `healed as number ${turn + 1}`)
  }, 60_000)

  test('a lost instance waits visibly while its silent node may still run it, and moves once the node has fenced itself', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store, 'node-a')
    const org = await seedOrg(given.store)
    const { id } = await seedPlaced(given.store, org, node.nodeId)
    await given.observe(node, id, {})
    must(
      await given.store.write('system:test', async (tx) => {
        must(await closeSession(tx, node.nodeId, node.epoch))
        return markLost(tx, node.nodeId)
      }),
    )
    await seedNode(given.store, 'node-b')
    const careful = given.startOnly([healerLoop])
    await untilDue(given, careful, id)
    await waitFor(async () => (must(await getHeal(given.store.db, id))?.dueAtMs ?? 0) > given.clock.wallMs() + 20_000, {
      what: 'put off',
      deadlineMs: WAIT_MS,
    })
    expect(await given.get(id)).toMatchObject({ nodeId: 'node-a', healSeq: 0, phase: { kind: 'lost' } })
    await careful.close()

    const fencing = given.startOnly([healerLoop, schedulerLoop], { fencedAfterMs: 1000 })
    given.clock.shift(31_000)
    await untilDue(given, fencing, id)
    const moved = await given.until(id, 'placed elsewhere', (one) => one.nodeId === 'node-b')
    expect(moved).toMatchObject({ healSeq: 1, phase: { kind: 'placed' } })
    // Being placed raised the generation; that is not a person's wish, so the attempt is still counted.
    expect(await attemptsOf(given, id)).toBe(1)
  })
})
