// Stale failed instances: collected by the control plane as system:gc, with event and audit; everything else that failed stays.
import { expect, test } from 'vitest'
import { phaseOf } from '../../../tests/support/control-records.ts'
import { type LoopBench, loopBench } from '../../../tests/support/loop-bench.ts'
import { seedNode, seedOrg, seedPlaced } from '../../../tests/support/store-seeds.ts'
import { describeEmbeddedStore, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { DEFAULT_GC } from '../../contracts/gc-config.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { listEvents } from '../store/events.ts'
import { listStale } from '../store/stale.ts'
import { janitorLoop } from './janitor-loop.ts'

const gc = { ...DEFAULT_GC, failedAfterMs: 3_600_000 }

describeEmbeddedStore('stale failed instances', (bench) => {
  const made: number[] = []
  /** Failed, and given up by the healer, or not. */
  async function failedOne(given: LoopBench, node: Awaited<ReturnType<typeof seedNode>>, givenUp: boolean): Promise<InstanceId> {
    const org = await seedOrg(given.store, `org-${made.push(1)}`)
    const { id } = await seedPlaced(given.store, org, node.nodeId)
    const lastError = { code: 'image_not_found' as const, detail: 'it broke', atMs: given.clock.wallMs() }
    await given.observe(node, id, {
      phase: phaseOf('failed', { reason: 'permanent_error', sinceMs: given.clock.wallMs(), lastError }),
      pid: null,
    })
    const { generation } = await given.get(id)
    const nowMs = given.clock.wallMs()
    const work = { instanceId: id, orgId: org, generation, dueAtMs: nowMs, reason: 'permanent' }
    must(await given.store.write('system:test', (tx) => tx.scheduleHeal(work)))
    const claimed = must(await given.store.claimHeals({ nowMs: nowMs + 1, leaseMs: 1000, lease: id, limit: 100 }))
    const [row] = claimed.filter(({ instanceId }) => instanceId === id)
    if (!row) throw new Error('no row of work')
    const back = { dueAtMs: nowMs, attempts: 5, generation, givenUp, lastError: null }
    must(await given.store.write('system:test', (tx) => tx.postponeHeal(row, back)))
    return id
  }
  const passes = async (given: LoopBench, what: string, condition: () => boolean | Promise<boolean>, config = gc) => {
    const loops = given.startOnly([janitorLoop], { gc: config, janitorMs: 3_600_000_000 })
    loops.nudge()
    await waitFor(condition, { what, deadlineMs: 20_000 })
    await loops.close()
  }
  const looked = (given: LoopBench) => async () => {
    const loops = given.startOnly([janitorLoop], { gc, janitorMs: 3_600_000_000 })
    await waitFor(() => loops.health()[0]?.detail.startsWith('looked') ?? false, { what: 'a pass', deadlineMs: 20_000 })
    await loops.close()
  }

  test('one that was given up long enough ago is wished deleted by system:gc, told once; younger and living ones stay', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store)
    const old = await failedOne(given, node, true)
    const tried = await failedOne(given, node, false)
    given.clock.shift(gc.failedAfterMs - 60_000)
    const young = await failedOne(given, node, true)
    await looked(given)()
    expect((await given.get(old)).want).toBe('running')
    given.clock.shift(60_000)
    await passes(given, 'the stale one is wished deleted', async () => (await given.get(old)).want === 'deleted')
    expect([(await given.get(tried)).want, (await given.get(young)).want]).toEqual(['running', 'running'])
    expect(await given.audits()).toMatchObject([
      { actor: 'system:gc', action: 'collect', target: `instance ${old}`, data: { kind: 'instance', reason: 'stale_failed' } },
    ])
    const events = must(await listEvents(given.store.db, { scope: null, after: 0, limit: 100, instanceId: old }))
    expect(events.filter(({ type }) => type === 'resource.collected')).toMatchObject([
      { data: { kind: 'instance', reason: 'stale_failed', id: old } },
    ])
    expect(given.log.lines.filter(({ msg }) => msg === 'resource collected')).toHaveLength(1)
    await looked(given)()
    expect((await given.audits()).length).toBe(1)
  })

  test('switched off nothing goes by itself', async () => {
    const given = await loopBench(bench)
    const id = await failedOne(given, await seedNode(given.store), true)
    given.clock.shift(gc.failedAfterMs * 2)
    const loops = given.startOnly([janitorLoop], { gc: { ...gc, enabled: false }, janitorMs: 3_600_000_000 })
    await waitFor(() => loops.health()[0]?.detail.startsWith('looked') ?? false, { what: 'a pass', deadlineMs: 20_000 })
    expect(must(await listStale(given.store.read)).map(({ instance }) => instance.id)).toEqual([id])
    expect((await given.get(id)).want).toBe('running')
  })

  test('two clocks must agree: a node whose clock is years behind makes nothing stale', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store)
    const id = await failedOne(given, node, true)
    await given.observe(node, id, { phase: phaseOf('failed', { reason: 'permanent_error', sinceMs: 0 }), pid: null })
    await looked(given)()
    expect((await given.get(id)).want).toBe('running')
  })
})
