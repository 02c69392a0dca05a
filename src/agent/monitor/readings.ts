// What the kernel says of this machine: processor time, memory, file systems. Each reading is a value or null; nothing here decides.
import { readFileSync, statfsSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'

export interface CpuTimes {
  readonly busyTicks: number
  readonly totalTicks: number
}

const read = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Absent on this kernel or not permitted in this container: the caller has a second source.
    return null
  }
}

/** Ticks since boot over all processors; iowait and idle count as not busy (proc(5), /proc/stat). */
export function cpuTimes(): CpuTimes | null {
  const line = read('/proc/stat')?.split('\n', 1)[0]
  const ticks = line?.split(/\s+/).slice(1, 9).map(Number)
  if (!ticks || ticks.length < 5) return null
  const totalTicks = ticks.reduce((sum, value) => sum + value, 0)
  return { totalTicks, busyTicks: totalTicks - (ticks[3] ?? 0) - (ticks[4] ?? 0) }
}

const LIMIT_FILES = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'] as const

/** Memory this agent's machine or container has: the smaller of physical memory and the cgroup's limit. */
export function physicalMemoryBytes(): number {
  const limits = LIMIT_FILES.map((path) => Number(read(path)?.trim() ?? Number.NaN)).filter(
    (bytes) => Number.isSafeInteger(bytes) && bytes > 0,
  )
  return Math.min(totalmem(), ...limits)
}

/** Memory that new work could take without swapping (MemAvailable of /proc/meminfo). */
export function availableMemoryBytes(): number | null {
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(read('/proc/meminfo') ?? '')?.[1]
  return kib === undefined ? null : Number(kib) * 1024
}

/** Share of a file system in use as an ordinary user sees it (what root keeps for itself counts as used), 0..1; null when it cannot be asked. */
export function diskRatio(path: string): number | null {
  try {
    const { blocks, bavail } = statfsSync(path)
    return blocks === 0 ? 0 : 1 - bavail / blocks
  } catch {
    return null
  }
}

export const cores = (): number => availableParallelism()
