// From a manifest to what each replica is made from. The CLI and the control plane both come through here, so they cannot
// disagree about what is valid. Hashes are over what the user wrote, never over filled-in defaults: an upgrade of Holdfast
// that adds a default must not look like a change of every replica.
import { createHash } from 'node:crypto'
import { canonical } from '../base/hash.ts'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from './errors.ts'
import { flatten, Manifest, type ManifestCheck, type ManifestIssue, type ManifestProcess } from './manifest.ts'
import type { ModeWish } from './modes.ts'
import { WORDS } from './parse-words.ts'
import { InstanceInput, type InstanceSpec } from './spec.ts'
import { compileSpec } from './spec-compile.ts'

const INSTANCE_NAME_LENGTH_MAX = 63
/** The default of InstanceInput; a test compares. */
export const CHECK_TIMEOUT_MS = 2000

export interface CompiledProcess {
  readonly name: string
  readonly replicas: number
  /** What one replica is made from, without its name. */
  readonly input: InstanceInput
  readonly spec: InstanceSpec
  /** Hash of `input`: a replica made from another one is replaced. */
  readonly hash: string
}

export interface CompiledManifest {
  readonly app: string
  readonly env: string
  /** `sha256:` of the manifest as key-sorted JSON; comments and order of keys do not change it. */
  readonly hash: string
  /** What the env says of recovery and health checks; no part of what a replica is made from. */
  readonly modes: ModeWish
  readonly processes: readonly CompiledProcess[]
}

export const canonicalHash = (value: unknown): string => `sha256:${createHash('sha256').update(canonical(value)).digest('hex')}`

export const replicaName = (app: string, env: string, process: string, slot: number): string => `${app}-${env}-${process}-${slot}`

/** Parses and compiles; all issues of the first stage that fails, each with the path of its key. */
export function readManifest(raw: unknown, env: string): Result<CompiledManifest, readonly ManifestIssue[]> {
  const parsed = Manifest.safeParse(raw, WORDS)
  if (!parsed.success) return err(flatten(parsed.error.issues))
  const manifest = parsed.data
  const outcomes = Object.entries(manifest.processes).map(([name, process]) => compileProcess(manifest, env, name, process))
  const issues = [...unusedImage(manifest), ...outcomes.flatMap((outcome) => (outcome.ok ? [] : outcome.error))]
  if (issues.length > 0) return err(issues)
  const processes = outcomes.flatMap((outcome) => (outcome.ok ? [outcome.value] : []))
  const { recovery, health_check: checks } = manifest.env
  const modes: ModeWish = { recovery: recovery?.mode ?? null, checks: checks === undefined ? null : checks.enabled ? 'on' : 'off' }
  return ok({ app: manifest.app.name, env, hash: canonicalHash(raw), modes, processes })
}

/** The same with one typed failure: the first issue in words, all of them in `issues`. */
export function compileManifest(raw: unknown, env: string): Result<CompiledManifest, Failure> {
  const read = readManifest(raw, env)
  if (read.ok) return read
  const lines = read.error.map((issue) => `${issue.path.join('.') || 'manifest'}: ${issue.message}`)
  const more = lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''
  return err(failure('invalid_manifest', `${lines[0]}${more}`, { field: read.error[0]?.path.join('.') ?? '', issues: lines.slice(0, 20) }))
}

/** An image that no process runs is a mistake: the default runtime is `process`, which runs none. */
function unusedImage(manifest: Manifest): readonly ManifestIssue[] {
  if (manifest.image?.ref === undefined || Object.values(manifest.processes).some((process) => process.runtime !== 'process')) return []
  return [{ path: ['image', 'ref'], message: 'no process runs an image; set runtime = "docker" on the one that does' }]
}

function compileProcess(
  manifest: Manifest,
  env: string,
  name: string,
  process: ManifestProcess,
): Result<CompiledProcess, readonly ManifestIssue[]> {
  const at = ['processes', name]
  const replicas = process.scaling.min
  const longest = replicaName(manifest.app.name, env, name, Math.max(0, (process.scaling.max ?? replicas) - 1))
  if (longest.length > INSTANCE_NAME_LENGTH_MAX)
    return err([
      { path: at, message: `the replica name ${longest} is longer than ${INSTANCE_NAME_LENGTH_MAX}; shorten the app, env or process name` },
    ])
  const input = toInput(manifest, process)
  if (process.ports.some((port) => port.internal === 0) && Object.hasOwn(input.env ?? {}, 'PORT'))
    return err([{ path: [...at, 'vars', 'PORT'], message: 'PORT is set by the platform for a port with internal = 0' }])
  const parsed = InstanceInput.safeParse(input, WORDS)
  if (!parsed.success) return err(flatten(parsed.error.issues).map((issue) => toManifestPath(at, process, issue)))
  const spec = compileSpec(parsed.data)
  if (!spec.ok) return err([toManifestPath(at, process, fieldIssue(spec.error))])
  return ok({ name, replicas, input, spec: spec.value, hash: canonicalHash(input) })
}

function toInput(manifest: Manifest, process: ManifestProcess): InstanceInput {
  const user = process.user ?? manifest.env.user
  const workdir = process.workdir ?? manifest.env.workdir
  const image = process.runtime === 'process' ? undefined : manifest.image?.ref
  return {
    runtime: process.runtime,
    memory: `${process.resources.memory / 2 ** 20}Mi`,
    ...(image !== undefined && { image }),
    ...(process.command && { command: process.command }),
    ...(process.resources.cpu !== undefined && { cpu: process.resources.cpu }),
    env: { ...manifest.env.vars, ...process.vars },
    ...(workdir !== undefined && { working_dir: workdir }),
    ports: process.ports.map(({ name, internal, host, protocol }) => ({
      internal,
      ...(name !== undefined && { name }),
      ...(host !== undefined && { host }),
      ...(protocol !== undefined && { protocol }),
    })),
    health: process.health.checks.map(toCheck),
    ...(process.restart && { restart: { policy: process.restart.policy } }),
    ...(process.stop && {
      stop: {
        ...(process.stop.signal !== undefined && { signal: process.stop.signal }),
        ...(process.stop.grace !== undefined && { grace: `${process.stop.grace}ms` }),
      },
    }),
    ...(user !== undefined && { security: { user } }),
    labels: process.labels,
  }
}

type CheckInput = NonNullable<InstanceInput['health']>[number]

function toCheck(check: ManifestCheck): CheckInput {
  const intervalMs = check.interval ?? fromSeconds(check.interval_seconds)
  const graceMs = check.grace ?? fromSeconds(check.grace_period_seconds)
  // A check never overlaps itself, so an interval shorter than the default timeout, given alone, shortens that too.
  const shortened = intervalMs !== undefined && intervalMs < CHECK_TIMEOUT_MS ? intervalMs : undefined
  const timeoutMs = check.timeout ?? fromSeconds(check.timeout_seconds) ?? shortened
  const timing = {
    ...(timeoutMs !== undefined && { timeout: `${timeoutMs}ms` }),
    ...(intervalMs !== undefined && { interval: `${intervalMs}ms` }),
    ...(graceMs !== undefined && { grace: `${graceMs}ms` }),
    ...(check.kind !== undefined && { kind: check.kind }),
    ...(check.failure_threshold !== undefined && { failure_threshold: check.failure_threshold }),
    ...(check.success_threshold !== undefined && { success_threshold: check.success_threshold }),
  }
  switch (check.type) {
    case 'tcp':
      return { type: 'tcp', port: check.port, ...timing }
    case 'http':
      return {
        type: 'http',
        port: check.port,
        path: check.path,
        ...(check.headers && { headers: check.headers }),
        ...(check.status !== undefined && { status: check.status }),
        ...timing,
      }
    case 'exec':
      return { type: 'exec', command: check.command, ...timing }
  }
}

const fromSeconds = (seconds: number | undefined): number | undefined =>
  seconds === undefined ? undefined : Math.max(1, Math.round(seconds * 1000))

/** The field of a failure of compileSpec as an issue: its detail begins with the field. */
function fieldIssue(given: Failure): ManifestIssue {
  const field = typeof given.fields?.field === 'string' ? given.fields.field : ''
  const prefix = `${field}: `
  return {
    path: field === '' ? [] : field.split('.').map((part) => (/^[0-9]+$/.test(part) ? Number(part) : part)),
    message: given.detail.startsWith(prefix) ? given.detail.slice(prefix.length) : given.detail,
  }
}

const RENAMED: Readonly<Record<string, readonly string[]>> = {
  memory: ['resources', 'memory'],
  cpu: ['resources', 'cpu'],
  env: ['vars'],
  working_dir: ['workdir'],
  security: [],
}

/** Where in the manifest a field of the instance was written. */
function toManifestPath(at: readonly string[], process: ManifestProcess, issue: ManifestIssue): ManifestIssue {
  const [head, ...rest] = issue.path
  if (head === 'image') return { path: process.runtime === 'process' ? [...at, 'runtime'] : ['image', 'ref'], message: issue.message }
  if (head === undefined) return { path: at, message: issue.message }
  const tail = head === 'health' && process.health.single ? rest.slice(1) : rest
  return { path: [...at, ...(RENAMED[String(head)] ?? [head]), ...tail], message: issue.message }
}
