// What a driver says of its runtime, bounded.
import type { Clock } from '../../base/clock.ts'
import { withDeadline } from '../../base/deadline.ts'
import type { RuntimeStatus } from '../../contracts/agent-protocol.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Driver } from '../drivers/driver.ts'

export async function statusOf(
  clock: Clock,
  driver: Driver | undefined,
  runtime: Runtime,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<RuntimeStatus> {
  const unusable = (detail: string): RuntimeStatus => ({ runtime, usable: false, version: null, detail, fix: null, limits: 'none' })
  if (!driver) return unusable('not built in')
  try {
    return await withDeadline(clock, deadlineMs, signal, (inner) => driver.status(inner))
  } catch (error) {
    // Its deadline, in its own words; a driver that throws is a bug, and must not look like one that is slow.
    return unusable(error instanceof Error ? error.message : String(error))
  }
}
