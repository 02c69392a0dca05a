import { expect, test } from 'vitest'
import { EngineStats } from './schemas.ts'
import { statsOf } from './stats.ts'

const sample = (change: object = {}) => EngineStats.parse({ read: '2026-01-01T00:00:00Z', ...change })
const cpu = (used: number, system: number) => ({ cpu_stats: { cpu_usage: { total_usage: used }, system_cpu_usage: system } })

test('C29: 500 of 5000 is 10 % of the machine, 1024 of 2048 bytes is half of the cap', () => {
  const after = sample({ ...cpu(1500, 15_000), memory_stats: { usage: 1024, limit: 2048, stats: {} } })
  const stats = statsOf(sample(cpu(1000, 10_000)), after, 0)
  expect([stats.cpuRatio, (stats.memoryBytes ?? 0) / (stats.memoryLimitBytes ?? 1), stats.cpuSeconds]).toEqual([0.1, 0.5, 1.5e-6])
})

test('C29: what the engine does not tell is null, not 0', () => {
  expect(statsOf(sample(), sample(), 0)).toMatchObject({
    cpuSeconds: null,
    cpuRatio: null,
    memoryBytes: null,
    memoryLimitBytes: null,
    networkReceivedBytes: null,
    networkSentBytes: null,
    diskReadBytes: null,
    diskWrittenBytes: null,
    processes: null,
  })
})

test('page cache that can go at once is not use, under either cgroup version', () => {
  const memory = (stats: object) => statsOf(sample(), sample({ memory_stats: { usage: 1000, limit: 2000, stats } }), 0).memoryBytes
  expect([memory({ total_inactive_file: 400 }), memory({ inactive_file: 300 })]).toEqual([600, 700])
})

test('traffic and disk are summed over interfaces and devices', () => {
  const after = sample({
    networks: { eth0: { rx_bytes: 1, tx_bytes: 2 }, eth1: { rx_bytes: 10, tx_bytes: 20 } },
    blkio_stats: {
      io_service_bytes_recursive: [
        { op: 'Read', value: 3 },
        { op: 'write', value: 4 },
        { op: 'read', value: 30 },
      ],
    },
  })
  expect(statsOf(sample(), after, 0)).toMatchObject({
    networkReceivedBytes: 11,
    networkSentBytes: 22,
    diskReadBytes: 33,
    diskWrittenBytes: 4,
  })
})

test('a counter that went back (the container began anew between the samples) gives no ratio', () => {
  expect(statsOf(sample(cpu(5000, 10_000)), sample(cpu(100, 20_000)), 0).cpuRatio).toBe(null)
})
