// May a new instance come onto this node? Memory is reserved by its cap, so the sum of caps never passes what is allocatable; pressure
// (how the machine fares right now) refuses new ones only. What already holds its reservation is never asked again.
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

export type Dimension = 'cpu' | 'memory' | 'disk'

export interface Room {
  readonly allocatableMemoryBytes: number
  readonly reservedMemoryBytes: number
  readonly pressure: readonly Dimension[]
}

const mib = (bytes: number) => `${Math.floor(bytes / 2 ** 20)} MiB`

export function admit(ask: { readonly memoryBytes: number }, room: Room): Result<void, Failure> {
  const available = Math.max(0, room.allocatableMemoryBytes - room.reservedMemoryBytes)
  if (ask.memoryBytes > available)
    return err(
      failure(
        'node_full',
        `It asks for ${mib(ask.memoryBytes)} of memory; ${mib(available)} of ${mib(room.allocatableMemoryBytes)} are free to reserve.`,
        {
          dimension: 'memory',
          requested: ask.memoryBytes,
          available,
        },
      ),
    )
  const [first] = room.pressure
  if (first !== undefined)
    return err(
      failure('node_pressure', `The node is short of ${room.pressure.join(' and ')}; what runs stays, new instances wait.`, {
        dimension: first,
        requested: ask.memoryBytes,
        available,
      }),
    )
  return OK
}

/** Leaving pressure takes this much less than entering it, so that a value on the edge does not flap. */
const HYSTERESIS = 0.05

export interface Ratios {
  readonly cpu: number
  readonly memory: number
  readonly disk: number
}

/** The dimensions under pressure now, given those before. Entered strictly above the threshold, left 5 points below it. */
export function foldPressure(before: readonly Dimension[], now: Ratios, thresholds: Ratios): readonly Dimension[] {
  return (['cpu', 'memory', 'disk'] as const).filter(
    (dimension) => now[dimension] > thresholds[dimension] - (before.includes(dimension) ? HYSTERESIS : 0),
  )
}

/** What may be reserved: physical memory less what the machine keeps for itself and a buffer. Never negative. */
export function allocatable(physicalBytes: number, reservedBytes: number, bufferRatio: number): number {
  return Math.max(0, Math.floor(physicalBytes - reservedBytes - physicalBytes * bufferRatio))
}
