// Watches how the node fares: a sample every two seconds, processor time averaged over a minute, because a busy processor is normal for
// seconds (a build, a storm of restarts) and a reason to send new work elsewhere only when it lasts.
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { NodeUsage } from '../../contracts/agent-protocol.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { CpuTimes, Readings } from './readings.ts'

export interface Ratios {
  readonly cpu: number
  readonly memory: number
  readonly disk: number
}
type Dimension = keyof Ratios

export interface MonitorDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly meter: Meter
  readonly readings: Readings
  /** File systems that count: the state directory first. */
  readonly paths: readonly string[]
  readonly reservedMemoryBytes: number
  readonly safetyBufferRatio: number
  readonly cpuOvercommit: number
  allocatable(physicalBytes: number, reservedBytes: number, bufferRatio: number): number
  foldPressure(before: readonly Dimension[], now: Ratios): readonly Dimension[]
}

export interface Capacity {
  readonly cores: number
  readonly memoryBytes: number
  readonly allocatableMemoryBytes: number
  readonly allocatableCpuMillis: number
}

export interface Monitor {
  /** Read once at the start: a machine does not grow while it runs. */
  capacity(): Capacity
  pressure(): readonly Dimension[]
  usage(reservedMemoryBytes: number): NodeUsage
  close(): void
}

const SAMPLE_MS = 2000
const CPU_WINDOW = 30

export function createMonitor(deps: MonitorDeps): Monitor {
  const { readings } = deps
  // A machine whose memory cannot be read takes nothing, visibly.
  const memoryBytes = readings.memory()?.totalBytes ?? 0
  const capacity: Capacity = {
    cores: readings.cores,
    memoryBytes,
    allocatableMemoryBytes: deps.allocatable(memoryBytes, deps.reservedMemoryBytes, deps.safetyBufferRatio),
    allocatableCpuMillis: Math.round(readings.cores * deps.cpuOvercommit * 1000),
  }
  let times: CpuTimes[] = []
  let disks = new Map<string, number>()
  let ratios: Ratios = { cpu: 0, memory: 0, disk: 0 }
  let pressure: readonly Dimension[] = []
  let cancel = () => {}

  const sample = () => {
    const now = readings.cpuTimes()
    if (now) times = [...times, now].slice(-(CPU_WINDOW + 1))
    const first = times[0]
    const last = times.at(-1)
    const elapsed = first && last ? last.totalTicks - first.totalTicks : 0
    const memory = readings.memory()
    disks = new Map(
      deps.paths
        .map((path) => [path, readings.diskRatio(path)] as const)
        .filter((pair): pair is readonly [string, number] => pair[1] !== null),
    )
    ratios = {
      cpu: first && last && elapsed > 0 ? (last.busyTicks - first.busyTicks) / elapsed : 0,
      memory: memory === null || memory.totalBytes === 0 ? 0 : memory.usedBytes / memory.totalBytes,
      disk: Math.max(0, ...disks.values()),
    }
    // Until the window is full the average is of seconds, not of a minute: shown, but no reason to refuse anything.
    const next = deps.foldPressure(pressure, times.length > CPU_WINDOW ? ratios : { ...ratios, cpu: 0 })
    if (next.join() !== pressure.join())
      deps.log.warn('node pressure changed', {
        pressure: next.join(),
        cpu_ratio: ratios.cpu,
        memory_ratio: ratios.memory,
        disk_ratio: ratios.disk,
      })
    pressure = next
    cancel = deps.clock.after(SAMPLE_MS, sample)
  }
  sample()
  deps.meter.gauge('node_cpu_ratio', () => [{ value: ratios.cpu }])
  deps.meter.gauge('node_memory_ratio', () => [{ value: ratios.memory }])
  deps.meter.gauge('node_disk_ratio', () => [...disks].map(([path, value]) => ({ labels: { path }, value })))

  deps.meter.gauge('node_stall_ratio', () => readings.stalls().map(({ resource, ratio }) => ({ labels: { resource }, value: ratio })))

  return {
    capacity: () => capacity,
    pressure: () => pressure,
    usage: (reservedMemoryBytes) => ({
      atMs: deps.clock.wallMs(),
      cpuRatio: ratios.cpu,
      memoryRatio: ratios.memory,
      diskRatio: ratios.disk,
      reservedMemoryBytes,
      pressure: [...pressure],
    }),
    close: () => cancel(),
  }
}
