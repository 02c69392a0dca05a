// Finding our containers: by name where that is enough, by label where somebody may have renamed one or copied its labels.

import { z } from 'zod'
import type { Clock, Random } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import type { Listing, Seen, Target } from '../driver.ts'
import type { CloudInit } from './cloud-init.ts'
import type { Engine } from './engine.ts'
import { type EngineFault, failureOf, isStatus } from './engine-fault.ts'
import type { InstanceFiles } from './files.ts'
import { containerName, instanceFilter, LABEL, labelFilter, type Mark, type Owner, readMark } from './marks.ts'
import type { Memory } from './memory.ts'
import { processOf } from './proc.ts'
import { Inspected, ListedContainers } from './schemas.ts'
import { seenOf } from './seen.ts'

/** What every verb works with. */
export interface Parts {
  readonly engine: Engine
  readonly files: InstanceFiles
  readonly memory: Memory
  readonly cloudInit: CloudInit
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly extraLabels: Readonly<Record<string, string>>
  owner(): Promise<Result<Owner, Failure>>
}

export interface Found {
  readonly container: Inspected
  readonly mark: Mark
}

const INSPECTS_AT_ONCE = 12
export const HANDLE = 'handle.json'
const Handle = z.object({ containerId: z.string() })

/** Null: the engine says there is none. `stranger`: the name is taken by something that is not this target. */
export async function find(parts: Parts, target: Target, signal: AbortSignal): Promise<Result<Found | 'stranger' | null, Failure>> {
  const owner = await parts.owner()
  if (!owner.ok) return owner
  const named = await inspect(parts.engine, containerName(target), signal)
  if (!named.ok) return err(failureOf(named.error, 'describe a container'))
  if (named.value) {
    const mark = markOf(named.value, owner.value)
    return ok(mark && sameTarget(mark, target) ? { container: named.value, mark } : 'stranger')
  }
  // Renamed by somebody? Then its labels still say what it is, and its id is the one we wrote down.
  const handle = await parts.files.read(target, HANDLE, Handle)
  if (!handle.ok) return withoutHandle(parts, owner.value, target, handle.error, signal)
  const renamed = handle.value === null ? ok(null) : await inspect(parts.engine, handle.value.containerId, signal)
  if (!renamed.ok) return err(failureOf(renamed.error, 'describe a container'))
  const mark = renamed.value && markOf(renamed.value, owner.value)
  return ok(renamed.value && mark && sameTarget(mark, target) ? { container: renamed.value, mark } : null)
}

/** Its file does not tell ours from a copy. Where the engine has neither, there is nothing to tell: a bad disk holds up no removal. */
async function withoutHandle(
  parts: Parts,
  owner: Owner,
  target: Target,
  unread: Failure,
  signal: AbortSignal,
): Promise<Result<null, Failure>> {
  const listed = await listContainers(parts.engine, instanceFilter(owner, target.id), signal)
  if (!listed.ok) return err(failureOf(listed.error, 'list containers'))
  const marked = listed.value.map((one) => readMark(one.Labels))
  return marked.some((mark) => mark !== undefined && sameTarget(mark, target)) ? err(unread) : ok(null)
}

const sameTarget = (mark: Mark, target: Target): boolean =>
  mark.id === target.id && mark.incarnation === target.incarnation && mark.nonce === target.nonce

function markOf(container: Inspected, owner: Owner): Mark | undefined {
  const labels = container.Config.Labels
  if (labels[LABEL.node] !== owner.nodeId || labels[LABEL.state] !== owner.stateId) return undefined
  return readMark(labels)
}

/** Null on 404. */
export async function inspect(engine: Engine, nameOrId: string, signal: AbortSignal): Promise<Result<Inspected | null, EngineFault>> {
  const answer = await engine.json({ method: 'GET', path: `/containers/${encodeURIComponent(nameOrId)}/json` }, Inspected, signal)
  return !answer.ok && isStatus(answer.error, 404) ? ok(null) : answer
}

const listContainers = (engine: Engine, filters: string, signal: AbortSignal) =>
  engine.json({ method: 'GET', path: '/containers/json', query: { all: '1', filters } }, ListedContainers, signal)

export async function list(parts: Parts, id: InstanceId | null, signal: AbortSignal): Promise<Result<Listing, Failure>> {
  const owner = await parts.owner()
  if (!owner.ok) return owner
  const filters = id === null ? labelFilter(owner.value) : instanceFilter(owner.value, id)
  const listed = await listContainers(parts.engine, filters, signal)
  if (!listed.ok) return err(failureOf(listed.error, 'list containers'))
  const seen: Seen[] = []
  let complete = true
  const ids = listed.value.filter((one) => readMark(one.Labels) !== undefined).map((one) => one.Id)
  const look = async (containerId: string): Promise<Failure | undefined> => {
    const container = await inspect(parts.engine, containerId, signal)
    if (!container.ok) {
      // One container that the engine cannot describe (its own lock is held) must not hide the others; but then not all are known.
      if (container.error.kind === 'status') complete = false
      else return failureOf(container.error, 'describe a container')
    } else if (container.value) {
      const mark = markOf(container.value, owner.value)
      const found = mark && { container: container.value, mark }
      const ours = found && (await isOurs(parts, found))
      if (ours?.ok === false) {
        complete = false
        parts.log.warn('container could not be told from a copy', { instance_id: found?.mark.id, error: ours.error.detail })
      } else if (found && ours) seen.push(await lookAt(parts, found, ours.value))
    }
    return undefined
  }
  const failed = await eachBounded(ids, INSPECTS_AT_ONCE, look)
  if (failed) return err(failed)
  // The real one before a copy that carries its labels.
  seen.sort((a, b) => Number(b.matches) - Number(a.matches))
  return ok({ complete, seen })
}

/** The agent's view of one container; notes what is seen for later. What was found by its target is ours. */
export async function lookAt(parts: Parts, { container, mark }: Found, matches = true): Promise<Seen> {
  const before = parts.memory.of(container.Id)
  const alive = container.State.Running || container.State.Paused
  const seen = seenOf(container, mark, {
    matches,
    cloudInit: mark.cloudInit && matches ? await parts.cloudInit.status(mark) : null,
    oomAtMs: before.oomAtMs,
    startedBefore: before.startedAt,
    processOf,
  })
  if (alive && before.startedAt === null) parts.memory.started(container.Id, container.State.StartedAt)
  // What an agent that died left half done is finished by whoever sees the container next.
  if (alive && matches && mark.cloudInit) parts.cloudInit.resume(mark, container.Id)
  return seen
}

/** A container made from an image of ours (docker commit) carries our labels too; only the id we wrote down tells them apart. */
async function isOurs(parts: Parts, { container, mark }: Found): Promise<Result<boolean, Failure>> {
  if (container.Name === `/${containerName(mark)}`) return ok(true)
  const handle = await parts.files.read(mark, HANDLE, Handle)
  return handle.ok ? ok(handle.value?.containerId === container.Id) : handle
}

/** Runs at most `max` at once; stops at the first failure and returns it. */
async function eachBounded<T>(
  items: readonly T[],
  max: number,
  run: (item: T) => Promise<Failure | undefined>,
): Promise<Failure | undefined> {
  let failed: Failure | undefined
  const left = [...items]
  const worker = async () => {
    for (let item = left.pop(); item !== undefined && !failed; item = left.pop()) failed = (await run(item)) ?? failed
  }
  await Promise.all(Array.from({ length: Math.min(max, items.length) }, worker))
  return failed
}

/** The living or dead container of this target, as a failure where there is none. */
export async function mustFind(parts: Parts, target: Target, signal: AbortSignal): Promise<Result<Found, Failure>> {
  const found = await find(parts, target, signal)
  if (!found.ok) return found
  if (found.value === 'stranger') return err(failure('process_mismatch', 'The container of this name was not started by this incarnation.'))
  return found.value ? ok(found.value) : err(failure('process_dead', 'There is no container of this incarnation.'))
}

export const runs = ({ container }: Found): boolean => container.State.Running && !container.State.Paused
