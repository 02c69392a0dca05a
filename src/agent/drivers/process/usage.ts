// Figures of a running incarnation: from its control group, or summed over its process tree.
import { ok, type Result } from '../../../base/result.ts'
import type { Stats } from '../../../contracts/agent-protocol.ts'
import type { Failure } from '../../../contracts/errors.ts'
import type { Target } from '../driver.ts'
import { type GroupUsage, groupUsage } from './cgroups.ts'
import { type Context, requireLive } from './context.ts'
import { withDescendants } from './proc.ts'

/** USER_HZ and page size are fixed on the architectures the keeper knows, except for large-page arm64 kernels, whose memory sum is then too low. */
const TICKS_PER_SECOND = 100
const PAGE_BYTES = 4096
const SAMPLES_MAX = 10_000

interface Sample {
  readonly atMs: number
  readonly cpuSeconds: number
}

/** Remembers the last sample of each incarnation: the CPU ratio is over the time since the previous question, at first since the start. */
export function createUsage(context: Context): (target: Target, signal: AbortSignal) => Promise<Result<Stats, Failure>> {
  const samples = new Map<string, Sample>()
  return async (target, signal) => {
    const live = await requireLive(context, target, signal)
    if (!live.ok) return live
    const { started, want } = live.value
    const grouped = groupUsage(want.groups)
    const usage: GroupUsage =
      grouped?.cpuSeconds != null
        ? grouped
        : { ...sumTree(started.pid), ...(grouped && { memoryBytes: grouped.memoryBytes, processes: grouped.processes }) }
    const key = `${target.id}/${target.incarnation}`
    const now: Sample = { atMs: context.clock.wallMs(), cpuSeconds: usage.cpuSeconds ?? 0 }
    const before = samples.get(key) ?? { atMs: started.atMs, cpuSeconds: 0 }
    if (samples.size >= SAMPLES_MAX) samples.clear()
    samples.set(key, now)
    const elapsedMs = now.atMs - before.atMs
    return ok({
      atMs: now.atMs,
      cpuSeconds: usage.cpuSeconds,
      cpuRatio: elapsedMs > 0 ? Math.max(0, ((now.cpuSeconds - before.cpuSeconds) * 1000) / elapsedMs) : null,
      memoryBytes: usage.memoryBytes,
      memoryLimitBytes: grouped ? want.memoryBytes : null,
      networkReceivedBytes: null,
      networkSentBytes: null,
      diskReadBytes: null,
      diskWrittenBytes: null,
      processes: usage.processes,
    })
  }
}

function sumTree(pid: number): GroupUsage {
  const tree = withDescendants(pid)
  const sum = (of: (index: number) => number) => tree.reduce((total, _, index) => total + of(index), 0)
  return {
    memoryBytes: sum((index) => tree[index]?.residentPages ?? 0) * PAGE_BYTES,
    cpuSeconds: sum((index) => tree[index]?.cpuTicks ?? 0) / TICKS_PER_SECOND,
    processes: tree.length,
  }
}
