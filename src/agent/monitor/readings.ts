// What the kernel says of this machine: processor time, memory, file systems, stalls. A reading that this kernel or container does not
// give is null; nothing here decides. All of it is memory of the kernel: reading it takes microseconds and waits for no disk.
import { readFileSync, statfsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

export interface CpuTimes {
  readonly busyTicks: number
  readonly totalTicks: number
}

export interface Memory {
  readonly totalBytes: number
  /** What new work could not have: in a container that of the container, else that of the machine. */
  readonly usedBytes: number
}

export interface Stall {
  readonly resource: 'cpu' | 'memory' | 'io'
  /** Share of the last ten seconds in which some task waited for it, 0..1. */
  readonly ratio: number
}

export interface Readings {
  readonly cores: number
  cpuTimes(): CpuTimes | null
  memory(): Memory | null
  /** Share in use as an ordinary user sees it (what root keeps for itself counts as used), 0..1. */
  diskRatio(path: string): number | null
  /** Pressure stall information; empty on kernels without it. */
  stalls(): readonly Stall[]
}

/** `root` is where /proc and /sys are found. */
export function kernelReadings(root = '/'): Readings {
  const read = (path: string): string | null => {
    try {
      return readFileSync(join(root, path), 'utf8')
    } catch {
      // Absent on this kernel or not permitted in this container: the reading is null.
      return null
    }
  }
  return {
    cores: availableParallelism(),
    cpuTimes: () => cpuTimes(read('proc/stat')),
    memory: () => machineMemory(read('proc/meminfo'), cgroupMemory(read)),
    diskRatio,
    stalls: () =>
      (['cpu', 'memory', 'io'] as const).flatMap((resource) => {
        const percent = /^some avg10=([0-9.]+)/m.exec(read(`proc/pressure/${resource}`) ?? '')?.[1]
        return percent === undefined ? [] : [{ resource, ratio: Number(percent) / 100 }]
      }),
  }
}

/** Ticks since boot over all processors; iowait and idle count as not busy (proc(5), /proc/stat). */
function cpuTimes(stat: string | null): CpuTimes | null {
  const ticks = stat?.split('\n', 1)[0]?.split(/\s+/).slice(1, 9).map(Number)
  if (!ticks || ticks.length < 5 || ticks.some(Number.isNaN)) return null
  const totalTicks = ticks.reduce((sum, value) => sum + value, 0)
  return { totalTicks, busyTicks: totalTicks - (ticks[3] ?? 0) - (ticks[4] ?? 0) }
}

function machineMemory(meminfo: string | null, container: Memory | null): Memory | null {
  const bytes = (name: string) => {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo ?? '')?.[1]
    return kib === undefined ? null : Number(kib) * 1024
  }
  const totalBytes = bytes('MemTotal')
  const availableBytes = bytes('MemAvailable')
  if (totalBytes === null || availableBytes === null) return container
  // MemAvailable is that of the machine, so inside a smaller container it would say that all is free.
  if (container && container.totalBytes < totalBytes) return container
  return { totalBytes, usedBytes: totalBytes - availableBytes }
}

/** Limit and use of the control group at the root of our view, which is the container's when we are in one; v2, then v1. */
const CGROUPS = [
  { dir: 'sys/fs/cgroup', limit: 'memory.max', use: 'memory.current', cache: 'inactive_file' },
  { dir: 'sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', use: 'memory.usage_in_bytes', cache: 'total_inactive_file' },
] as const

function cgroupMemory(read: (path: string) => string | null): Memory | null {
  for (const { dir, limit, use, cache } of CGROUPS) {
    const totalBytes = number(read(join(dir, limit)))
    const usedBytes = number(read(join(dir, use)))
    // No limit reads as `max`, or on v1 as a number near 2^63.
    if (totalBytes === null || usedBytes === null || totalBytes <= 0) continue
    const reclaimable = number(new RegExp(`^${cache} (\\d+)$`, 'm').exec(read(join(dir, 'memory.stat')) ?? '')?.[1] ?? null) ?? 0
    return { totalBytes, usedBytes: Math.max(0, usedBytes - reclaimable) }
  }
  return null
}

function number(text: string | null): number | null {
  const value = Number(text?.trim() || Number.NaN)
  return Number.isSafeInteger(value) ? value : null
}

function diskRatio(path: string): number | null {
  try {
    const { blocks, bavail } = statfsSync(path)
    return blocks === 0 ? 0 : 1 - bavail / blocks
  } catch {
    return null
  }
}
