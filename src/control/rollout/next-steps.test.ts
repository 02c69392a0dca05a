import fc from 'fast-check'
import { assert, describe, expect, test } from 'vitest'
import { envOf, instanceId, instanceOf, membershipOf, nodeId, phaseOf } from '../../../tests/support/control-records.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { type CompiledManifest, compileManifest } from '../../contracts/manifest-compile.ts'
import type { EnvRecord } from '../model/env.ts'
import { envStatus, readinessOf } from '../model/env-status.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { nextSteps, type RolloutStep } from './next-steps.ts'

const manifest = (version: string, replicas: Readonly<Record<string, number>>, extra: Record<string, unknown> = {}) => ({
  schema_version: 'v1',
  app: { name: 'shop' },
  processes: Object.fromEntries(
    Object.entries(replicas).map(([name, min]) => [
      name,
      { command: ['./run', version], resources: { memory: '64Mi' }, scaling: { min }, ...extra },
    ]),
  ),
})
function compiled(raw: Record<string, unknown>): CompiledManifest {
  const read = compileManifest(raw, 'prod')
  assert(read.ok, JSON.stringify(read))
  return read.value
}
const env = (raw: Record<string, unknown>, given: Partial<EnvRecord> = {}) => envOf(raw, { manifestHash: compiled(raw).hash, ...given })

type Fate = 'ready' | 'starting' | 'failing' | 'stopped' | 'paused' | 'going' | 'lost' | 'unplaced'
const FATES: Readonly<Record<Fate, Partial<InstanceRecord>>> = {
  ready: { phase: phaseOf('running', { reason: 'verified' }) },
  starting: { phase: phaseOf('starting') },
  failing: { phase: phaseOf('failed') },
  stopped: { want: 'stopped', phase: phaseOf('failed') },
  paused: { want: 'paused', phase: phaseOf('paused') },
  going: { want: 'deleted', phase: phaseOf('running') },
  lost: { phase: phaseOf('lost') },
  unplaced: { nodeId: null, phase: phaseOf('pending', { reason: 'no_node' }) },
}
/** Replicas of `web`, slot by slot, made from the given manifest. */
function replicas(raw: Record<string, unknown>, ...fates: Fate[]): readonly InstanceRecord[] {
  const [web] = compiled(raw).processes
  return fates.map((fate, slot) =>
    instanceOf({
      id: instanceId(slot + 1),
      nodeId: nodeId('a'),
      observedGeneration: 1,
      spec: web!.spec,
      membership: membershipOf({ slot, manifestHash: web!.hash }),
      ...FATES[fate],
    }),
  )
}
const short = (step: RolloutStep) =>
  step.kind === 'create'
    ? `create ${step.name}`
    : step.kind === 'remove_env'
      ? 'remove_env'
      : `${step.kind} ${Number(step.id.slice(5)) - 1} ${step.because}`
test('what an env says of recovery and health checks is given to all at once, and replaces none', () => {
  const raw = { ...manifest('v1', { web: 4 }), env: { recovery: { mode: 'observe' }, health_check: { enabled: false } } }
  const before = replicas(manifest('v1', { web: 4 }), 'ready', 'stopped', 'failing', 'going')
  const modes = { recovery: 'observe', checks: 'off' }
  expect(nextSteps(env(raw), compiled(raw), before).steps).toEqual(
    [0, 1, 2].map((slot) => ({ kind: 'set_modes', id: instanceId(slot + 1), modes, because: 'modes_changed' })),
  )
  const after = before.map((one) => ({ ...one, envModes: compiled(raw).modes }))
  expect(plan(raw, after)).toEqual([])
  expect(plan(manifest('v1', { web: 4 }), after)).toEqual([0, 1, 2].map((slot) => `set_modes ${slot} modes_changed`))
  // One that is made now begins with them.
  const raised = { ...raw, ...manifest('v1', { web: 5 }), env: raw.env }
  expect(nextSteps(env(raised), compiled(raised), after).steps).toMatchObject([{ kind: 'create', slot: 4, modes }])
})

function plan(raw: Record<string, unknown>, instances: readonly InstanceRecord[], given: Partial<EnvRecord> = {}) {
  return nextSteps(env(raw, given), compiled(raw), instances).steps.map(short)
}

const V1 = manifest('v1', { web: 3 })
const V2 = manifest('v2', { web: 3 })

describe('replicas come and go', () => {
  test('a new env: every replica is made at once, named by app, env, process and slot', () => {
    expect(plan(manifest('v1', { web: 2, worker: 1 }), [])).toEqual([
      'create shop-prod-web-0',
      'create shop-prod-web-1',
      'create shop-prod-worker-0',
    ])
  })

  test('as wished: nothing to do', () => {
    expect(plan(V1, replicas(V1, 'ready', 'ready', 'ready'))).toEqual([])
  })

  test('scaling down deletes the highest slots, scaling up makes the missing ones', () => {
    expect(plan(manifest('v1', { web: 1 }), replicas(V1, 'ready', 'failing', 'ready'))).toEqual(['delete 1 surplus', 'delete 2 surplus'])
    expect(plan(manifest('v1', { web: 4 }), replicas(V1, 'ready', 'ready', 'ready'))).toEqual(['create shop-prod-web-3'])
  })

  test('a process type that is no longer in the manifest goes', () => {
    expect(plan(manifest('v1', { api: 0 }), replicas(V1, 'ready'))).toEqual(['delete 0 surplus'])
  })

  test('a deleted replica is made again only when it is gone, because it still has the name', () => {
    expect(plan(V1, replicas(V1, 'ready', 'going', 'ready'))).toEqual([])
    expect(
      plan(
        V1,
        replicas(V1, 'ready', 'going', 'ready').filter((_, slot) => slot !== 1),
      ),
    ).toEqual(['create shop-prod-web-1'])
  })

  test('deleting an env deletes each replica once, then the env', () => {
    expect(plan(V1, replicas(V1, 'ready', 'going', 'stopped'), { deleting: true })).toEqual([
      'delete 0 env_deleted',
      'delete 2 env_deleted',
    ])
    expect(plan(V1, replicas(V1, 'going'), { deleting: true })).toEqual([])
    expect(plan(V1, [], { deleting: true })).toEqual(['remove_env'])
  })
})

describe('a changed manifest replaces replicas one at a time', () => {
  const old = replicas(V1, 'ready', 'ready', 'ready')
  const fresh = (fate: Fate) => replicas(V2, fate)

  test('the first one goes alone', () => {
    expect(plan(V2, old)).toEqual(['update 0 manifest_changed'])
  })

  test('the next one waits until the first is ready', () => {
    expect(plan(V2, [...fresh('starting'), ...old.slice(1)])).toEqual([])
    expect(plan(V2, [...fresh('ready'), ...old.slice(1)])).toEqual(['update 1 manifest_changed'])
  })

  test('an update the agent has not seen yet is not ready, whatever was observed before', () => {
    const unseen = fresh('ready').map((one) => ({ ...one, generation: 2 }))
    expect(plan(V2, [...unseen, ...old.slice(1)])).toEqual([])
  })

  test('running but unproven, or with checks that have not passed, is not ready', () => {
    const [one] = fresh('ready')
    expect(readinessOf({ ...one!, phase: phaseOf('running', { reason: 'started' }) })).toBe('starting')
    const checked = {
      ...one!,
      spec: { ...one!.spec, health: compiled(manifest('v1', { web: 1 }, { health: { port: 80 } })).processes[0]!.spec.health },
    }
    const observed = { checks: [] } as unknown as NonNullable<InstanceRecord['observed']>
    expect(readinessOf({ ...checked, observed: { ...observed, health: 'starting' } })).toBe('starting')
    expect(readinessOf({ ...checked, observed: { ...observed, health: 'healthy' } })).toBe('ready')
    expect(readinessOf({ ...checked, observed: { ...observed, health: 'unhealthy' } })).toBe('failing')
  })

  test.each(['failing', 'lost', 'unplaced'] as const)(
    'a new replica that is %s halts it: the old ones are not touched, and the env says so',
    (fate) => {
      const instances = [...fresh(fate), ...old.slice(1)]
      expect(nextSteps(env(V2), compiled(V2), instances)).toEqual({ steps: [], haltedBy: [instanceId(1)] })
      expect(envStatus(env(V2), instances)).toMatchObject({
        state: 'failing',
        processes: [{ name: 'web', wanted: 3, ready: 2, current: 1 }],
      })
    },
  )

  test('the next manifest replaces the failing replica first', () => {
    const V3 = manifest('v3', { web: 3 })
    const halted = [old[0]!, { ...replicas(V2, 'ready', 'failing')[1]!, id: instanceId(2) }, old[2]!]
    expect(plan(V3, halted)).toEqual(['update 1 manifest_changed'])
  })

  test('the one whose node is gone comes last', () => {
    expect(plan(V2, replicas(V1, 'lost', 'ready', 'starting'))).toEqual(['update 2 manifest_changed'])
  })

  test('what a person stopped is given the new spec and stays stopped; what is paused is left alone', () => {
    expect(plan(V2, replicas(V1, 'stopped', 'paused', 'ready'))).toEqual(['update 0 manifest_changed', 'update 2 manifest_changed'])
    expect(plan(V2, [...replicas(V2, 'stopped'), ...replicas(V1, 'ready', 'ready', 'ready').slice(1)])).toEqual([
      'update 1 manifest_changed',
    ])
  })

  test('more memory or another runtime cannot change in place: deleted, then made anew, still one at a time', () => {
    const bigger = manifest('v1', { web: 3 }, { resources: { memory: '128Mi' } })
    expect(plan(bigger, old)).toEqual(['delete 0 cannot_change_in_place'])
    expect(plan(bigger, replicas(V1, 'going', 'ready', 'ready'))).toEqual([])
    expect(plan(bigger, old.slice(1))).toEqual(['create shop-prod-web-0'])
    const smaller = manifest('v1', { web: 3 }, { resources: { memory: '32Mi' } })
    expect(plan(smaller, old)).toEqual(['update 0 manifest_changed'])
  })
})

describe('an env converges whatever happens on the way', () => {
  const kinds = fc.constantFrom<Fate>('ready', 'starting', 'failing', 'lost')
  const world = fc.record({
    before: fc.array(kinds, { maxLength: 5 }),
    wanted: fc.integer({ min: 0, max: 5 }),
    memory: fc.constantFrom('32Mi', '64Mi', '128Mi'),
  })

  /** What the agent and the store make of a step; the new incarnation is starting. */
  function apply(instances: readonly InstanceRecord[], step: RolloutStep, nextId: () => InstanceId): readonly InstanceRecord[] {
    switch (step.kind) {
      case 'remove_env':
        return instances
      case 'delete':
        return instances.map((one) => (one.id === step.id ? { ...one, want: 'deleted' } : one))
      case 'set_modes':
        return instances.map((one) => (one.id === step.id ? { ...one, envModes: step.modes } : one))
      case 'create':
        return [
          ...instances,
          {
            ...replicas(V1, 'starting')[0]!,
            id: nextId(),
            name: step.name,
            spec: step.process.spec,
            membership: membershipOf({ slot: step.slot, manifestHash: step.process.hash }),
          },
        ]
      case 'update':
        return instances.map((one) =>
          one.id === step.id
            ? {
                ...one,
                spec: step.process.spec,
                membership: membershipOf({ slot: step.slot, manifestHash: step.process.hash }),
                phase: phaseOf('starting'),
              }
            : one,
        )
    }
  }

  test('to exactly the wished replicas, taking at most one serving replica down at a time, never two live ones in a slot', () => {
    fc.assert(
      fc.property(world, fc.infiniteStream(fc.boolean()), ({ before, wanted, memory }, luck) => {
        const raw = manifest('v2', { web: wanted }, { resources: { memory } })
        const [lucky] = [luck[Symbol.iterator]()]
        const ids = Array.from({ length: 1000 }, (_, index) => instanceId(100 + index))
        let instances = replicas(V1, ...before)
        for (let round = 0; ; round += 1) {
          assert(round < 200, 'does not converge')
          const { steps } = nextSteps(env(raw), compiled(raw), instances)
          const touched = steps.filter((step) => step.kind === 'update' || (step.kind === 'delete' && step.because !== 'surplus'))
          assert(touched.length <= 1, 'more than one replica taken down')
          const isDown = (one: InstanceRecord) =>
            one.membership?.manifestHash === compiled(raw).processes[0]?.hash && readinessOf(one) !== 'ready'
          assert(touched.length === 0 || !instances.some(isDown), 'the next one before the last was ready')
          for (const step of steps) instances = apply(instances, step, () => ids.shift()!)
          const names = instances.filter((one) => one.want !== 'deleted').map((one) => one.membership?.slot)
          assert(new Set(names).size === names.length, 'two in one slot')
          const readiness = instances.map(readinessOf)
          if (steps.length === 0 && !readiness.includes('starting') && !readiness.includes('going')) break
          // The agent gets on with some of it.
          instances = instances.flatMap((one) => {
            if (!lucky.next().value && round < 100) return [one]
            if (one.want === 'deleted') return []
            return [readinessOf(one) === 'starting' ? { ...one, phase: phaseOf('running', { reason: 'verified' }) } : one]
          })
        }
        expect(envStatus(env(raw), instances)).toMatchObject({
          state: 'running',
          processes: wanted === 0 ? [{ wanted: 0, instances: [] }] : [{ wanted, ready: wanted, current: wanted }],
        })
      }),
      { numRuns: 300 },
    )
  })
})

describe('the status of an env', () => {
  test('converging while it is on its way, running when it is done', () => {
    expect(envStatus(env(V1), replicas(V1, 'ready', 'starting', 'ready')).state).toBe('converging')
    expect(envStatus(env(V1), replicas(V1, 'ready', 'ready')).state).toBe('converging')
    expect(envStatus(env(V2), replicas(V1, 'ready', 'ready', 'ready')).state).toBe('converging')
    expect(envStatus(env(V1), replicas(V1, 'ready', 'stopped', 'ready')).state).toBe('running')
  })

  test('a replica of an older manifest that fails is about to be replaced: the new manifest has not failed', () => {
    expect(envStatus(env(V2), [...replicas(V1, 'failing'), ...replicas(V2, 'ready', 'ready', 'ready').slice(1)]).state).toBe('converging')
    expect(envStatus(env(manifest('v1', { web: 1 })), replicas(V1, 'ready', 'failing')).state).toBe('converging')
    expect(envStatus(env(V1), replicas(V1, 'ready', 'failing', 'ready')).state).toBe('failing')
  })

  test('a stored manifest that no longer compiles is a failing env that still shows its replicas', () => {
    expect(envStatus(envOf({ schema_version: 'v0' }), replicas(V1, 'ready'))).toMatchObject({
      state: 'failing',
      processes: [{ name: 'web', wanted: 0, instances: [{}] }],
    })
  })
})
