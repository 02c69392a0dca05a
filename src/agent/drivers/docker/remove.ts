// Removing containers. What cannot be got back is saved first: the end of their output.
import { err, OK, type Result } from '../../../base/result.ts'
import type { Failure } from '../../../contracts/errors.ts'
import type { Target } from '../driver.ts'
import type { Engine } from './engine.ts'
import { failureOf, isStatus } from './engine-fault.ts'
import { find, inspect, type Parts } from './find.ts'
import { saveLogs } from './logs.ts'

const REMOVE_DEADLINE_MS = 60_000
const GONE_POLL_MS = 20
const GONE_POLLS_MAX = 500
const DISK: readonly Failure['code'][] = ['disk_full', 'file_error']

/** Ok when it is gone, also when it was not there or is somebody else's. */
export async function removeKeepingLogs(parts: Parts, target: Target, signal: AbortSignal): Promise<Result<void, Failure>> {
  const found = await find(parts, target, signal)
  if (!found.ok) return found
  if (found.value === null || found.value === 'stranger') return OK
  const { container } = found.value
  if (container.State.Status !== 'created' && container.State.Status !== 'removing') {
    const saved = await saveLogs(parts, target, container.Id, signal)
    if (!saved.ok) {
      // A full disk must not keep for ever what is to be deleted, and the space it takes.
      if (!DISK.includes(saved.error.code)) return saved
      parts.log.warn('logs not kept at removal', { instance_id: target.id, error_code: saved.error.code, error: saved.error.detail })
    }
  }
  const removed = await removeContainer(parts.engine, container.Id, signal)
  if (!removed.ok) return removed
  await untilGone(parts, container.Id, signal)
  parts.memory.forget(container.Id)
  parts.cloudInit.forget(target)
  return OK
}

/** Anonymous volumes go with it: nothing else would ever find them again. */
export async function removeContainer(
  engine: Engine,
  containerId: string,
  signal: AbortSignal,
  deadlineMs = REMOVE_DEADLINE_MS,
): Promise<Result<void, Failure>> {
  const call = { method: 'DELETE', path: `/containers/${containerId}`, query: { force: '1', v: '1' }, deadlineMs } as const
  const removed = await engine.call(call, signal, 'long')
  // 404: gone. 409: somebody is removing it at this moment.
  if (removed.ok || isStatus(removed.error, 404) || isStatus(removed.error, 409)) return OK
  return err(failureOf(removed.error, 'remove the container', 'stop_failed'))
}

/** Only after a 409 is there anything to wait for; usually the first look says it. */
async function untilGone(parts: Parts, containerId: string, signal: AbortSignal): Promise<void> {
  for (let polls = 0; polls < GONE_POLLS_MAX && !signal.aborted; polls += 1) {
    const there = await inspect(parts.engine, containerId, signal)
    if (!there.ok || there.value === null) return
    await parts.clock.sleep(GONE_POLL_MS, signal).catch(() => undefined)
  }
}
