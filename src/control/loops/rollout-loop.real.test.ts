import { expect, test } from 'vitest'
import { factsOf, phaseOf } from '../../../tests/support/control-records.ts'
import { type LoopBench, loopBench, WAIT_MS } from '../../../tests/support/loop-bench.ts'
import { newInstance, seedInstance, seedNode, seedOrg } from '../../../tests/support/store-seeds.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { ok } from '../../base/result.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { newId, type OrgId } from '../../contracts/ids.ts'
import { compileManifest } from '../../contracts/manifest-compile.ts'
import type { EnvRecord } from '../model/env.ts'
import { envStatus } from '../model/env-status.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { findEnv, markEnvDeleting, putEnv } from '../store/envs.ts'
import { changeDesired, putMetadata } from '../store/instance-changes.ts'
import { listEnvInstances } from '../store/instances.ts'
import { rolloutLoop } from './rollout-loop.ts'
import { schedulerLoop } from './scheduler-loop.ts'

const RUNTIMES = factsOf().runtimes.map((status) => ({ ...status, runtime: 'process' as const }))

function manifest(version: string, replicas: number, extra: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  const web = {
    command: ['./web', version],
    resources: { memory: '64Mi' },
    scaling: { min: replicas },
    labels: { version, tier: 'front' },
    ...extra,
  }
  return { schema_version: 'v1', app: { name: 'shop' }, processes: { web } }
}

describeStores('rollout loop', (bench) => {
  async function stage(given: LoopBench) {
    const node = await seedNode(given.store, 'node-a', { runtimes: RUNTIMES })
    const org = await seedOrg(given.store)
    return { node, org }
  }
  async function deploy(given: LoopBench, org: OrgId, raw: Readonly<Record<string, unknown>>): Promise<EnvRecord> {
    const { hash } = must(compileManifest(raw, 'prod'))
    const ids = { newAppId: newId.app(systemClock, systemRandom), newEnvId: newId.env(systemClock, systemRandom) }
    const put = await given.store.write('token:ann', (tx) =>
      putEnv(tx, { orgId: org, app: 'shop', env: 'prod', manifest: raw, manifestHash: hash, ...ids }),
    )
    return must(put).env
  }
  const members = async (given: LoopBench, env: EnvRecord) => must(await listEnvInstances(given.store.db, env.id))
  const versions = async (given: LoopBench, env: EnvRecord) => (await members(given, env)).map((one) => one.spec.command[1])
  const status = async (given: LoopBench, env: EnvRecord) =>
    envStatus(must(await findEnv(given.store.db, env.id, null)), await members(given, env))
  /** Waits for exactly these replicas to be placed and unanswered, then answers as their agent. */
  async function answer(
    given: LoopBench,
    stage: { node: Awaited<ReturnType<typeof seedNode>> },
    env: EnvRecord,
    kind: 'running' | 'failed',
  ): Promise<InstanceRecord> {
    const next = await waitFor(
      async () => (await members(given, env)).find((one) => one.nodeId !== null && one.observedGeneration < one.generation),
      { what: 'a replica to answer for', deadlineMs: WAIT_MS },
    )
    await given.observe(stage.node, next.id, { phase: phaseOf(kind, { reason: kind === 'running' ? 'verified' : 'start_failed' }) })
    return next
  }

  test('deploy, replace one at a time in place, scale down, delete: each step seen, audited, and nothing said twice', async () => {
    const given = await loopBench(bench)
    const set = await stage(given)
    given.start({ resyncMs: 3_600_000 })
    const env = await deploy(given, set.org, manifest('v1', 2))
    for (let slot = 0; slot < 2; slot += 1) await answer(given, set, env, 'running')
    const first = await members(given, env)
    expect(first.map((one) => one.name)).toEqual(['shop-prod-web-0', 'shop-prod-web-1'])
    expect((await status(given, env)).state).toBe('running')
    must(
      await given.store.write('token:ann', (tx) =>
        putMetadata(tx, first[0]!.id, { labels: { mine: 'yes' }, mode: 'merge', ifVersion: null }),
      ),
    )

    await deploy(given, set.org, manifest('v2', 2, { labels: { version: 'v2' } }))
    await given.until(first[0]!.id, 'the first one updated', (one) => one.spec.command[1] === 'v2')
    // The second one is not touched before the first is ready, however often everything is looked at.
    expect(await versions(given, env)).toEqual(['v2', 'v1'])
    expect((await status(given, env)).state).toBe('converging')
    expect((await answer(given, set, env, 'running')).id).toBe(first[0]!.id)
    await given.until(first[1]!.id, 'the second one updated', (one) => one.spec.command[1] === 'v2')
    await answer(given, set, env, 'running')
    expect(await status(given, env)).toMatchObject({ state: 'running', processes: [{ ready: 2, current: 2 }] })
    const updated = await given.get(first[0]!.id)
    expect(updated).toMatchObject({ nodeId: 'node-a', labels: { version: 'v2', mine: 'yes' } })
    expect(updated.labels).not.toHaveProperty('tier')

    await deploy(given, set.org, manifest('v2', 1, { labels: { version: 'v2' } }))
    await given.until(first[1]!.id, 'the surplus one wished deleted', (one) => one.want === 'deleted')
    await given.observe(set.node, first[1]!.id, { phase: phaseOf('deleted') })
    must(await given.store.write('token:ann', (tx) => markEnvDeleting(tx, env.id)))
    await given.until(first[0]!.id, 'wished deleted', (one) => one.want === 'deleted')
    await given.observe(set.node, first[0]!.id, { phase: phaseOf('deleted') })
    await waitFor(async () => !(await findEnv(given.store.db, env.id, null)).ok, { what: 'the env gone', deadlineMs: WAIT_MS })
    expect(await given.events()).toContain('env.deleted')
    expect(
      (await given.audits())
        .filter((row) => row.actor === 'system:rollout')
        .map((row) => row.action)
        .reverse(),
    ).toEqual(['rollout.create', 'rollout.create', 'rollout.update', 'rollout.update', 'rollout.delete', 'rollout.delete'])
  })

  test('a new version that does not come up halts: the old replica keeps its spec and the env says failing; the next deploy mends it', async () => {
    const given = await loopBench(bench)
    const set = await stage(given)
    const loops = given.startOnly([schedulerLoop, rolloutLoop])
    const env = await deploy(given, set.org, manifest('v1', 2))
    for (let slot = 0; slot < 2; slot += 1) await answer(given, set, env, 'running')
    await deploy(given, set.org, manifest('bad', 2))
    await answer(given, set, env, 'failed')
    await waitFor(() => given.log.said().includes('warn rollout halted'), { what: 'the halt told', deadlineMs: WAIT_MS })
    loops.nudge()
    expect(await versions(given, env)).toEqual(['bad', 'v1'])
    expect(await status(given, env)).toMatchObject({ state: 'failing', processes: [{ wanted: 2, ready: 1, current: 1 }] })

    await deploy(given, set.org, manifest('v3', 2))
    for (let slot = 0; slot < 2; slot += 1) await answer(given, set, env, 'running')
    await waitFor(async () => (await status(given, env)).state === 'running', { what: 'running', deadlineMs: WAIT_MS })
    expect(await versions(given, env)).toEqual(['v3', 'v3'])
    expect(given.log.said().filter((line) => line === 'warn rollout halted')).toHaveLength(1)
  })

  test('more memory is placed anew, so that the ledger holds: without room it waits visibly and the other replica serves on', async () => {
    const given = await loopBench(bench)
    const node = await seedNode(given.store, 'node-a', { runtimes: RUNTIMES, allocatableMemoryBytes: 256 * 2 ** 20 })
    const org = await seedOrg(given.store)
    given.startOnly([schedulerLoop, rolloutLoop])
    const env = await deploy(given, org, manifest('v1', 2))
    for (let slot = 0; slot < 2; slot += 1) await answer(given, { node }, env, 'running')
    const [old] = await members(given, env)
    await deploy(given, org, manifest('v1', 2, { resources: { memory: '256Mi' } }))
    await given.until(old!.id, 'wished deleted', (one) => one.want === 'deleted')
    await given.observe(node, old!.id, { phase: phaseOf('deleted') })
    const waiting = await waitFor(async () => (await members(given, env)).find((one) => one.phase.reason === 'no_node'), {
      what: 'the new one waits',
      deadlineMs: WAIT_MS,
    })
    expect(waiting).toMatchObject({ name: old!.name, refusals: [{ refusedBy: 'memory', detail: 'needs 256Mi; 192Mi of 256Mi is free' }] })
    expect(await status(given, env)).toMatchObject({ state: 'failing', processes: [{ ready: 1 }] })
  })

  test('what a person stopped is not started by a deploy', async () => {
    const given = await loopBench(bench)
    const set = await stage(given)
    given.startOnly([schedulerLoop, rolloutLoop])
    const env = await deploy(given, set.org, manifest('v1', 1))
    const { id } = await answer(given, set, env, 'running')
    must(await given.store.write('token:ann', (tx) => changeDesired(tx, id, () => ok({ verb: 'stop', want: 'stopped' }))))
    await deploy(given, set.org, manifest('v2', 1))
    const updated = await given.until(id, 'its spec replaced', (one) => one.spec.command[1] === 'v2')
    expect(updated.want).toBe('stopped')
  })

  test('a name that somebody else has stops only that replica, and is told once', async () => {
    const given = await loopBench(bench)
    const set = await stage(given)
    await seedInstance(given.store, set.org, newInstance(set.org, { name: 'shop-prod-web-0' }))
    const loops = given.startOnly([schedulerLoop, rolloutLoop])
    const env = await deploy(given, set.org, manifest('v1', 2))
    const made = await answer(given, set, env, 'running')
    expect(made.name).toBe('shop-prod-web-1')
    loops.nudge()
    await waitFor(() => given.log.said().includes('warn replica name taken'), { what: 'told', deadlineMs: WAIT_MS })
    loops.nudge()
    await answer(given, set, await deploy(given, set.org, manifest('v1', 3)), 'running')
    expect(given.log.said().filter((line) => line === 'warn replica name taken').length).toBeLessThanOrEqual(2)
  })
})
