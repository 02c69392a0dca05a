// Carries out what nextSteps says, one env after the other, each step in its own transaction. A step is decided again under the row
// lock, so a manifest or a person that was faster is never overwritten with something older.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { EnvId, InstanceId, newId } from '../../contracts/ids.ts'
import { type CompiledManifest, type CompiledProcess, compileManifest } from '../../contracts/manifest-compile.ts'
import { type ModeWish, NO_MODES } from '../../contracts/modes.ts'
import type { EnvRecord } from '../model/env.ts'
import { nextSteps, type Rollout, type RolloutStep, sameModes } from '../rollout/next-steps.ts'
import type { StoreReads, StoreWrites } from '../store/access.ts'
import type { LoopsDeps } from './deps.ts'
import { Faults } from './faults.ts'
import type { Loop, Pass, Turn } from './runner.ts'
import type { Changes } from './wake.ts'

type Deps = Pick<LoopsDeps, 'clock' | 'random' | 'log' | 'meter' | 'config'> & {
  readonly store: { readonly read: Pick<StoreReads, 'allEnvs' | 'findEnv' | 'getInstance' | 'listEnvInstances'> }
}

/** What is remembered of an env between passes, all of it only to save work and to say things once. */
interface Known {
  readonly hash: string
  readonly compiled: CompiledManifest | null
  /** What has been said of it, not to be said again. */
  readonly told: Set<string>
}
type Memory = Map<EnvId, Known>

export function rolloutLoop(deps: Deps): Loop {
  const memory: Memory = new Map()
  const faults = new Faults(deps, 'rollout')
  return {
    name: 'rollout',
    resyncMs: deps.config.resyncMs,
    gapMs: 50,
    cares: ({ kind }) => kind === 'env' || kind === 'instance',
    pass: (turn) => pass(deps, memory, faults, turn),
    reset: () => {
      memory.clear()
      faults.clear()
    },
  }
}

async function pass(deps: Deps, memory: Memory, faults: Faults, turn: Turn): Promise<Result<Pass, Failure>> {
  const { changes, signal } = turn
  const envs = changes === null ? await deps.store.read.allEnvs() : await touched(deps, changes)
  if (!envs.ok) return envs
  if (changes === null) for (const id of memory.keys()) if (!envs.value.some((env) => env.id === id)) memory.delete(id)
  const about = ({ app, env }: EnvRecord) => ({ app, env })
  const done = await faults.each(envs.value, signal, about, (env) => converge(deps, turn, memory, env))
  return done.ok ? ok({ againMs: null, failing: faults.detail() }) : done
}

/** The envs that the changes are about. */
async function touched({ store }: Deps, changes: NonNullable<Changes>): Promise<Result<readonly EnvRecord[], Failure>> {
  const ids = new Set<EnvId>()
  for (const { kind, id } of changes) {
    if (kind === 'env') ids.add(EnvId.parse(id))
    if (kind !== 'instance') continue
    const instance = await store.read.getInstance(InstanceId.parse(id))
    if (!instance.ok) return instance
    if (instance.value?.membership) ids.add(instance.value.membership.envId)
  }
  const envs: EnvRecord[] = []
  for (const id of ids) {
    const env = await store.read.findEnv(id, null)
    if (env.ok) envs.push(env.value)
    else if (env.error.code !== 'not_found') return env
  }
  return ok(envs)
}

async function converge(deps: Deps, turn: Turn, memory: Memory, env: EnvRecord): Promise<Result<void, Failure>> {
  const known = knownOf(deps, memory, env)
  // Deleting needs no manifest.
  const compiled = known.compiled ?? (env.deleting ? NOTHING : null)
  if (compiled === null) return ok(undefined)
  const instances = await deps.store.read.listEnvInstances(env.id)
  if (!instances.ok) return instances
  const rollout = nextSteps(env, compiled, instances.value)
  tellHalt(deps, env, known, rollout)
  for (const step of rollout.steps) {
    const done = await execute(deps, turn, env, step)
    if (done.ok) {
      deps.log.info('rollout step', {
        app: env.app,
        env: env.env,
        step: step.kind,
        because: step.because,
        ...('id' in step && { instance_id: step.id }),
      })
      if (step.kind === 'remove_env') memory.delete(env.id)
    } else if (done.error.code === 'name_taken') {
      // Somebody's own instance has the name of a replica. The others go on; it is tried again at each resync.
      tellOnce(known, `name ${done.error.detail}`, () =>
        deps.log.warn('replica name taken', { app: env.app, env: env.env, error: done.error.detail }),
      )
    } else return done
  }
  return ok(undefined)
}

const NOTHING: CompiledManifest = { app: '', env: '', hash: '', modes: NO_MODES, processes: [] }

function knownOf({ log }: Deps, memory: Memory, env: EnvRecord): Known {
  const known = memory.get(env.id)
  if (known?.hash === env.manifestHash) return known
  const compiled = compileManifest(env.manifest, env.env)
  if (!compiled.ok) log.error('stored manifest not valid', { app: env.app, env: env.env, error: compiled.error.detail })
  const fresh: Known = { hash: env.manifestHash, compiled: compiled.ok ? compiled.value : null, told: new Set() }
  memory.set(env.id, fresh)
  return fresh
}

function tellHalt({ log }: Deps, env: EnvRecord, known: Known, { haltedBy }: Rollout): void {
  if (haltedBy.length > 0)
    tellOnce(known, 'halted', () =>
      log.warn('rollout halted', { app: env.app, env: env.env, instance_id: haltedBy[0] ?? null, failing: haltedBy.length }),
    )
  else known.told.delete('halted')
}

function tellOnce(known: Known, what: string, tell: () => void): void {
  if (known.told.has(what)) return
  known.told.add(what)
  tell()
}

function execute(deps: Deps, { write }: Turn, env: EnvRecord, step: RolloutStep): Promise<Result<unknown, Failure>> {
  // Made outside: the transaction may run twice.
  const freshId = newId.instance(deps.clock, deps.random)
  return write('system:rollout', async (tx) => {
    const now = await tx.read.findEnv(env.id, null)
    if (!now.ok) return now.error.code === 'not_found' ? ok(undefined) : now
    // A newer manifest, or a deletion: this step was decided for something that is over.
    if (now.value.manifestHash !== env.manifestHash || now.value.deleting !== env.deleting) return ok(undefined)
    switch (step.kind) {
      case 'create':
        return create(tx, env, step, freshId)
      case 'update':
        return update(tx, env, step.id, step.process, step.because)
      case 'set_modes':
        return setModes(tx, env, step.id, step.modes, step.because)
      case 'delete':
        return remove(tx, env, step.id, step.because)
      case 'remove_env':
        return tx.removeEnv(env.id)
    }
  })
}

const audit = (tx: StoreWrites, env: EnvRecord, action: string, target: string, because: string) =>
  tx.audit({
    action: `rollout.${action}`,
    orgId: env.orgId,
    target,
    outcome: 'accepted',
    requestId: null,
    data: { app: env.app, env: env.env, because, manifest_hash: env.manifestHash },
  })

async function create(
  tx: StoreWrites,
  env: EnvRecord,
  step: Extract<RolloutStep, { kind: 'create' }>,
  id: InstanceId,
): Promise<Result<unknown, Failure>> {
  const { process, slot, name } = step
  const created = await tx.createInstance({
    id,
    orgId: env.orgId,
    name,
    spec: process.spec,
    input: { ...process.input, name },
    labels: process.input.labels ?? {},
    metadata: {},
    membership: { envId: env.id, app: env.app, env: env.env, processType: process.name, slot, manifestHash: process.hash },
    recoveryMode: process.spec.recoveryMode,
    envModes: step.modes,
  })
  if (created.ok) audit(tx, env, 'create', id, step.because)
  return created
}

/** Nothing of what runs is touched by it. */
async function setModes(
  tx: StoreWrites,
  env: EnvRecord,
  id: InstanceId,
  modes: ModeWish,
  because: string,
): Promise<Result<unknown, Failure>> {
  const changed = await tx.changeDesired(id, (now) =>
    ok(now.want === 'deleted' || sameModes(now.envModes, modes) ? null : { verb: 'modes', envModes: modes }),
  )
  if (!changed.ok) return changed.error.code === 'not_found' ? ok(undefined) : changed
  audit(tx, env, 'set_modes', id, because)
  return ok(undefined)
}

async function update(
  tx: StoreWrites,
  env: EnvRecord,
  id: InstanceId,
  process: CompiledProcess,
  because: string,
): Promise<Result<unknown, Failure>> {
  let labels: Record<string, string | null> | undefined
  const changed = await tx.changeDesired(id, (now) => {
    const { membership } = now
    if (!membership || now.want === 'deleted' || membership.manifestHash === process.hash) return ok(null)
    labels = labelsPatch(now.labels, labelsOf(now.input), process.input.labels ?? {})
    const spec = { spec: process.spec, input: { ...process.input, name: now.name } }
    return ok({ verb: 'deploy', spec, membership: { ...membership, manifestHash: process.hash } })
  })
  if (!changed.ok) return changed.error.code === 'not_found' ? ok(undefined) : changed
  if (labels === undefined) return ok(undefined)
  audit(tx, env, 'update', id, because)
  return Object.keys(labels).length === 0 ? ok(undefined) : tx.putMetadata(id, { labels, mode: 'merge', ifVersion: null })
}

function labelsOf(input: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { labels } = input
  return typeof labels === 'object' && labels !== null ? { ...labels } : {}
}

/** From what the old manifest gave to what the new one gives; what people set by hand stays. */
function labelsPatch(
  now: Readonly<Record<string, string>>,
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, string>>,
) {
  const patch: Record<string, string | null> = {}
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key) && Object.hasOwn(now, key)) patch[key] = null
  for (const [key, value] of Object.entries(after)) if (now[key] !== value) patch[key] = value
  return patch
}

async function remove(tx: StoreWrites, env: EnvRecord, id: InstanceId, because: string): Promise<Result<unknown, Failure>> {
  let asked = false
  const changed = await tx.changeDesired(id, (now) => {
    asked = now.want !== 'deleted'
    return ok(asked ? { verb: 'delete', want: 'deleted' } : null)
  })
  if (!changed.ok) return changed.error.code === 'not_found' ? ok(undefined) : changed
  if (asked) audit(tx, env, 'delete', id, because)
  return ok(undefined)
}
