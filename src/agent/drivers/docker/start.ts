// Create and start, once per incarnation. The name of the container is the lock: of two starts the second finds the first one's.
//
// What a start leaves: a running container, or nothing. A start that was interrupted between create and start is found as `created`;
// it never ran, so the next start of the incarnation removes it and begins anew. One that has ended is shown as it is, never run again.
//
// A start into the engine's own clearing up after the incarnation before would be slower than one after it: it is waited for, while the
// container is made.
import { stat } from 'node:fs/promises'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Seen, Wanted } from '../driver.ts'
import { containerConfig, hasCloudInit } from './create.ts'
import { type EngineFault, failureOf, isStatus } from './engine-fault.ts'
import { find, HANDLE, list, lookAt, type Parts } from './find.ts'
import { containerName, type Owner } from './marks.ts'
import { hasImage } from './pull.ts'
import { removeContainer, removeKeepingLogs } from './remove.ts'
import { Created } from './schemas.ts'
import { explainStart } from './start-faults.ts'

/** How long a start waits for cloud-init's commands before it says `started`; they go on afterwards. */
const CLOUD_INIT_WAIT_MS = 5000
/** For taking back what a failed start made, when the caller's own time may be over. */
const UNDO_DEADLINE_MS = 4000
/** Ended containers kept beside the current one, as evidence. */
const DEAD_KEPT = 3
/** How long a start waits until the engine has cleared up after the incarnation before; usually 50 ms. It helps, nothing depends on it. */
const CLEARED_WAIT_MS = 1000
const CREATES_MAX = 3
const SHOW_TRIES_MAX = 5
const SHOW_RETRY_MS = 200

export async function startContainer(parts: Parts, want: Wanted, signal: AbortSignal): Promise<Result<Seen, Failure>> {
  if (signal.aborted) return err(failure('cancelled', 'The start was cancelled.'))
  const owner = await parts.owner()
  if (!owner.ok) return owner
  const mounts = await checkMounts(want)
  if (!mounts.ok) return mounts
  const cleared = previousCleared(parts, want, signal)
  const made = await create(parts, want, owner.value, signal)
  if (!made.ok) return made
  if (made.value.kind === 'exists') return ok(made.value.seen)
  const { containerId } = made.value
  const started = await bringUp(parts, want, { containerId, cleared }, signal)
  if (!started.ok) {
    await undo(parts, containerId)
    const anew = withoutPort(want, started.error)
    return anew === null ? started : startContainer(parts, anew, signal)
  }
  const shown = await show(parts, want, containerId, signal)
  // Whoever is told that a start failed may start another: so nothing of this one may run.
  if (!shown.ok) await undo(parts, containerId)
  return shown
}

/** Somebody else has a port that the engine chose for it before: it chooses another one. Null when the user fixed it, or that is not why. */
function withoutPort(want: Wanted, { code, fields }: Failure): Wanted | null {
  if (code !== 'port_in_use') return null
  const hostPorts = want.spec.ports.map(({ host }, index) =>
    host === 0 && want.hostPorts[index] === fields?.port ? 0 : (want.hostPorts[index] ?? 0),
  )
  return hostPorts.join() === want.spec.ports.map((_, index) => want.hostPorts[index] ?? 0).join() ? null : { ...want, hostPorts }
}

/**
 * With `die` told, the engine still takes down the network and mounts of the ended container. A start meanwhile makes both wait for the
 * kernel, 70 to 160 ms longer than one after the other (docs/runtimes/docker.md). All the while the engine holds the lock of that container, so
 * it answers a question about it, whatever it says, when it is done.
 */
async function previousCleared(parts: Parts, want: Wanted, signal: AbortSignal): Promise<void> {
  if (want.incarnation <= 1) return
  const path = `/containers/${containerName({ ...want, incarnation: want.incarnation - 1 })}/json`
  // Not among the short calls: many that end at once would leave those no connection.
  await parts.engine.call({ method: 'GET', path, deadlineMs: CLEARED_WAIT_MS }, signal, 'long')
}

type Made = { readonly kind: 'made'; readonly containerId: string } | { readonly kind: 'exists'; readonly seen: Seen }

async function create(parts: Parts, want: Wanted, owner: Owner, signal: AbortSignal): Promise<Result<Made, Failure>> {
  const config = containerConfig(want, owner, parts.extraLabels)
  if (!config.ok) return config
  for (let tries = 0; tries < CREATES_MAX; tries += 1) {
    const call = { method: 'POST', path: '/containers/create', query: { name: containerName(want) }, body: config.value } as const
    const created = await parts.engine.json(call, Created, signal)
    if (created.ok) return ok({ kind: 'made', containerId: created.value.Id })
    if (!isStatus(created.error, 409)) return err(await createFailure(parts, want, created.error, signal))
    const existing = await adopt(parts, want, signal)
    if (!existing.ok) return existing
    if (existing.value) return ok({ kind: 'exists', seen: existing.value })
  }
  return err(failure('start_failed', `The name ${containerName(want)} is taken again and again.`))
}

/** The name is taken. Ours: show it, or remove it when it never ran (null: create again). */
async function adopt(parts: Parts, want: Wanted, signal: AbortSignal): Promise<Result<Seen | null, Failure>> {
  const found = await find(parts, want, signal)
  if (!found.ok) return found
  if (found.value === null) return ok(null)
  if (found.value === 'stranger')
    return err(
      failure('start_failed', `A container named ${containerName(want)} exists that this incarnation did not make; it is left alone.`),
    )
  if (found.value.container.State.Status !== 'created') return ok(await lookAt(parts, found.value))
  const removed = await removeContainer(parts.engine, found.value.container.Id, signal)
  return removed.ok ? ok(null) : removed
}

/** Networks, files, then the start itself. */
async function bringUp(
  parts: Parts,
  want: Wanted,
  { containerId, cleared }: { readonly containerId: string; readonly cleared: Promise<void> },
  signal: AbortSignal,
): Promise<Result<void, Failure>> {
  for (const network of want.spec.networks.slice(1)) {
    const body = { Container: containerId }
    const joined = await parts.engine.call({ method: 'POST', path: `/networks/${encodeURIComponent(network)}/connect`, body }, signal)
    if (!joined.ok) return err(await explainStart(parts, want, containerId, joined.error, signal))
  }
  const written = await parts.files.write(want, HANDLE, JSON.stringify({ containerId }))
  if (!written.ok) return written
  if (hasCloudInit(want)) {
    const installed = await parts.cloudInit.install(want, containerId, signal)
    if (!installed.ok) return installed
  }
  await cleared
  const started = await parts.engine.call(
    { method: 'POST', path: `/containers/${containerId}/start`, deadlineMs: START_DEADLINE_MS },
    signal,
    'long',
  )
  return started.ok ? OK : err(await explainStart(parts, want, containerId, started.error, signal))
}

/** The caller's own deadline is shorter; this one bounds a caller without any. */
const START_DEADLINE_MS = 120_000

async function show(parts: Parts, want: Wanted, containerId: string, signal: AbortSignal): Promise<Result<Seen, Failure>> {
  if (hasCloudInit(want)) {
    parts.cloudInit.resume(want, containerId)
    await parts.cloudInit.settle(want, CLOUD_INIT_WAIT_MS, signal)
  }
  for (let tries = 1; ; tries += 1) {
    const found = await find(parts, want, signal)
    if (found.ok && found.value !== null && found.value !== 'stranger') return ok(await lookAt(parts, found.value))
    if (found.ok) return err(failure('start_failed', 'The container was removed by somebody else right after its start.'))
    // It runs: an engine that is away for a moment is no reason to end it.
    if (tries === SHOW_TRIES_MAX || signal.aborted) return found
    await parts.clock.sleep(SHOW_RETRY_MS * tries, signal).catch(() => undefined)
  }
}

async function undo(parts: Parts, containerId: string): Promise<void> {
  const removed = await removeContainer(parts.engine, containerId, new AbortController().signal, UNDO_DEADLINE_MS)
  // Left as `created`: the next start of this incarnation, or its removal, finds it.
  if (!removed.ok) parts.log.warn('container of a failed start was left', { container_id: containerId, error_code: removed.error.code })
}

async function createFailure(parts: Parts, want: Wanted, fault: EngineFault, signal: AbortSignal): Promise<Failure> {
  if (isStatus(fault, 404) && want.spec.image !== null) {
    const here = await hasImage(parts.engine, want.spec.image, signal)
    if (here.ok && !here.value)
      return failure('image_not_found', `The node does not have the image ${want.spec.image}.`, { image: want.spec.image })
  }
  // Whether it was made is not known: a container nobody started is removed by whoever starts this incarnation next.
  return failureOf(fault, 'create the container', isStatus(fault, 400) ? 'invalid_command' : 'start_failed')
}

/** The engine would say the same in words; this says which. */
async function checkMounts(want: Wanted): Promise<Result<void, Failure>> {
  for (const mount of want.spec.mounts) {
    const missing = await stat(mount.source).then(
      () => false,
      (error: unknown) => error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'),
    )
    if (missing)
      return err(failure('mount_not_found', `${mount.source} does not exist on the node.`, { source: mount.source, target: mount.target }))
  }
  return OK
}

/** Ended containers of long ago are removed, their output saved. Best effort: the next start tries again. */
export async function pruneOld(parts: Parts, want: Wanted, signal: AbortSignal): Promise<void> {
  const oldest = want.incarnation - DEAD_KEPT
  if (oldest <= 1) return
  const listed = await list(parts, want.id, signal)
  if (!listed.ok) return
  const old = listed.value.seen.filter(
    (one) => one.matches && one.incarnation < oldest && (one.state === 'dead' || one.state === 'created'),
  )
  for (const one of old) await removeKeepingLogs(parts, one, signal)
  await parts.files.prune(want)
}
