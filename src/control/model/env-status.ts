// How far an env is with its manifest: what the rollout decides by, and what the API shows. Pure.
import { type CompiledManifest, compileManifest } from '../../contracts/manifest-compile.ts'
import type { EnvStatusView } from '../../contracts/views.ts'
import type { EnvRecord } from './env.ts'
import type { InstanceRecord } from './instance.ts'

/**
 * `ready`: does what is wished, proven. `starting`: on its way. `failing`: not without help, or not in sight. `resting`: a person
 * stopped or paused it. `going`: being deleted.
 */
export type Readiness = 'ready' | 'starting' | 'failing' | 'resting' | 'going'

export function readinessOf(instance: InstanceRecord): Readiness {
  const { phase, want } = instance
  if (want === 'deleted' || phase.kind === 'deleted') return 'going'
  if (want !== 'running') return 'resting'
  if (phase.kind === 'lost') return 'failing'
  if (phase.kind === 'pending') return instance.refusals.length > 0 || phase.reason === 'no_node' ? 'failing' : 'starting'
  // What the agent reports of an older wish says nothing about this one.
  if (instance.observedGeneration < instance.generation) return 'starting'
  switch (phase.kind) {
    case 'running':
      return readinessOfRunning(instance)
    case 'completed':
      return 'ready'
    case 'failed':
    case 'crash_looping':
    case 'quarantined':
    case 'degraded':
      return 'failing'
    case 'placed':
    case 'preparing':
    case 'starting':
    case 'recovering':
    case 'stopping':
    case 'stopped':
    case 'paused':
      return 'starting'
    default:
      return phase satisfies never
  }
}

/** Reasons of a running instance that has not proven itself yet. */
const UNPROVEN: ReadonlySet<string> = new Set(['started', 'waiting_for_checks', 'self_recovered'])

function readinessOfRunning(instance: InstanceRecord): Readiness {
  const health = instance.observed?.health ?? 'unknown'
  if (health === 'unhealthy') return 'failing'
  if (UNPROVEN.has(instance.phase.reason)) return 'starting'
  return instance.spec.health.length === 0 || health === 'healthy' ? 'ready' : 'starting'
}

type EnvState = EnvStatusView['state']

/** `instances`: all of the env that are not gone. A stored manifest that no longer compiles is a failing env, never an exception. */
export function envStatus(env: EnvRecord, instances: readonly InstanceRecord[]): EnvStatusView {
  const compiled = compileManifest(env.manifest, env.env)
  const wanted = compiled.ok && !env.deleting ? compiled.value.processes : []
  const names = [...new Set([...wanted.map((process) => process.name), ...instances.flatMap((one) => one.membership?.processType ?? [])])]
  const processes = names.map((name) => {
    const process = wanted.find((one) => one.name === name)
    const members = instances.filter((one) => one.membership?.processType === name)
    const isCurrent = (one: InstanceRecord) => one.membership?.manifestHash === process?.hash
    return {
      name,
      wanted: process?.replicas ?? 0,
      running: members.filter((one) => one.phase.kind === 'running').length,
      ready: members.filter((one) => readinessOf(one) === 'ready').length,
      current: members.filter(isCurrent).length,
      instances: members.map((one) => ({ id: one.id, name: one.name, state: one.phase.kind })),
    }
  })
  return {
    id: env.id,
    app: env.app,
    env: env.env,
    manifest_hash: env.manifestHash,
    state: compiled.ok ? stateOf(env, compiled.value, instances) : 'failing',
    processes,
  }
}

/**
 * `failing` as soon as one wanted replica is: one of an older manifest, or one too many, is about to go and says nothing about this one.
 * `running` when each wanted one is current and as wished, and none is left over.
 */
function stateOf(env: EnvRecord, compiled: CompiledManifest, instances: readonly InstanceRecord[]): EnvState {
  if (env.deleting) return 'converging'
  const isWanted = ({ membership }: InstanceRecord) =>
    compiled.processes.some(
      ({ name, hash, replicas }) => membership?.processType === name && membership.slot < replicas && membership.manifestHash === hash,
    )
  if (instances.some((one) => isWanted(one) && readinessOf(one) === 'failing')) return 'failing'
  const expected = compiled.processes.flatMap((process) => Array.from({ length: process.replicas }, (_, slot) => ({ process, slot })))
  const done = expected.every(({ process, slot }) =>
    instances.some((one) => {
      const readiness = readinessOf(one)
      const { membership } = one
      const itsSlot = membership?.processType === process.name && membership.slot === slot && membership.manifestHash === process.hash
      return itsSlot && (readiness === 'ready' || readiness === 'resting')
    }),
  )
  return done && instances.length === expected.length ? 'running' : 'converging'
}
