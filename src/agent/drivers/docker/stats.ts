// Figures of a running container. What this engine, kernel or network mode cannot tell is null, never 0.
import type { Clock } from '../../../base/clock.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import type { Stats } from '../../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Engine } from './engine.ts'
import { failureOf, isStatus } from './engine-fault.ts'
import { EngineStats } from './schemas.ts'
import { timeOf } from './seen.ts'

/** Between two samples; long enough for the kernel's own counting, short enough for somebody who waits. */
const SAMPLE_GAP_MS = 250

/** Two samples: a ratio needs a span, and the engine's own way of two samples takes two seconds. */
export async function readStats(engine: Engine, clock: Clock, containerId: string, signal: AbortSignal): Promise<Result<Stats, Failure>> {
  const before = await sample(engine, containerId, signal)
  if (!before.ok) return before
  try {
    await clock.sleep(SAMPLE_GAP_MS, signal)
  } catch {
    return err(failure('cancelled', 'The question was withdrawn.'))
  }
  const after = await sample(engine, containerId, signal)
  return after.ok ? ok(statsOf(before.value, after.value, clock.wallMs())) : after
}

async function sample(engine: Engine, containerId: string, signal: AbortSignal): Promise<Result<EngineStats, Failure>> {
  const query = { stream: '0', 'one-shot': '1' }
  const answer = await engine.json({ method: 'GET', path: `/containers/${containerId}/stats`, query }, EngineStats, signal)
  if (answer.ok) return answer
  return err(isStatus(answer.error, 404) ? failure('wrong_state', 'It does not run.') : failureOf(answer.error, 'tell figures'))
}

export function statsOf(before: EngineStats, after: EngineStats, nowMs: number): Stats {
  const { memory_stats: memory, cpu_stats: cpu } = after
  const usedNs = cpu?.cpu_usage?.total_usage
  return {
    atMs: timeOf(after.read) ?? nowMs,
    cpuSeconds: usedNs === undefined ? null : usedNs / 1e9,
    cpuRatio: ratioOf(before, after),
    memoryBytes: memory?.usage === undefined ? null : Math.max(0, memory.usage - cacheOf(memory.stats ?? {})),
    memoryLimitBytes: memory?.limit ?? null,
    networkReceivedBytes: sumOf(Object.values(after.networks ?? {}).map((one) => one.rx_bytes)),
    networkSentBytes: sumOf(Object.values(after.networks ?? {}).map((one) => one.tx_bytes)),
    diskReadBytes: sumOf(ioOf(after, 'read')),
    diskWrittenBytes: sumOf(ioOf(after, 'write')),
    processes: after.pids_stats?.current ?? null,
  }
}

/** Share of the whole machine between the two samples, 0..1. */
function ratioOf(before: EngineStats, after: EngineStats): number | null {
  const [used, usedBefore] = [after.cpu_stats?.cpu_usage?.total_usage, before.cpu_stats?.cpu_usage?.total_usage]
  const [system, systemBefore] = [after.cpu_stats?.system_cpu_usage, before.cpu_stats?.system_cpu_usage]
  if (used === undefined || usedBefore === undefined || system === undefined || systemBefore === undefined) return null
  return system > systemBefore && used >= usedBefore ? (used - usedBefore) / (system - systemBefore) : null
}

/** Page cache that the kernel gives back at once; named differently in the two cgroup versions. */
const cacheOf = (stats: Readonly<Record<string, number>>): number => stats.total_inactive_file ?? stats.inactive_file ?? 0

const ioOf = (stats: EngineStats, op: string): number[] =>
  (stats.blkio_stats?.io_service_bytes_recursive ?? []).filter((one) => one.op.toLowerCase() === op).map((one) => one.value)

const sumOf = (values: readonly number[]): number | null => (values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0))
