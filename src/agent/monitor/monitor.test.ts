import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { silentLogger } from '../../base/log.ts'
import type { MetricName } from '../../contracts/metrics.ts'
import { createMonitor, type MonitorDeps } from './monitor.ts'
import { kernelReadings, type Readings } from './readings.ts'

const GIB = 2 ** 30
const MEMINFO = 'MemTotal:       1048576 kB\nMemFree:         100 kB\nMemAvailable:    262144 kB\n'

/** A kernel of files: what is not given is absent. */
async function kernel(files: Readonly<Record<string, string>>): Promise<Readings> {
  const root = await tmpDir()
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return kernelReadings(root)
}

describe('readings', () => {
  test('processor time: idle and iowait are not busy', async () => {
    const readings = await kernel({ 'proc/stat': 'cpu  100 1 50 800 40 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n' })
    expect(readings.cpuTimes()).toEqual({ totalTicks: 1000, busyTicks: 160 })
  })

  test('memory: what is available counts as free, the cache too', async () => {
    expect((await kernel({ 'proc/meminfo': MEMINFO })).memory()).toEqual({ totalBytes: GIB, usedBytes: 0.75 * GIB })
  })

  test.each([
    [
      'v2',
      {
        'sys/fs/cgroup/memory.max': '536870912\n',
        'sys/fs/cgroup/memory.current': '400000000\n',
        'sys/fs/cgroup/memory.stat': 'anon 5\ninactive_file 100000000\n',
      },
    ],
    [
      'v1',
      {
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912\n',
        'sys/fs/cgroup/memory/memory.usage_in_bytes': '400000000\n',
        'sys/fs/cgroup/memory/memory.stat': 'inactive_file 1\ntotal_inactive_file 100000000\n',
      },
    ],
  ])('in a container (%s) its own limit and use count, not those of the machine', async (_version, files) => {
    expect((await kernel({ 'proc/meminfo': MEMINFO, ...files })).memory()).toEqual({ totalBytes: 536870912, usedBytes: 300000000 })
  })

  test.each([
    ['v2', { 'sys/fs/cgroup/memory.max': 'max\n', 'sys/fs/cgroup/memory.current': '4\n' }],
    ['v1', { 'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n', 'sys/fs/cgroup/memory/memory.usage_in_bytes': '4\n' }],
    ['larger than the machine', { 'sys/fs/cgroup/memory.max': '9000000000\n', 'sys/fs/cgroup/memory.current': '4\n' }],
  ])('a control group without a limit (%s) changes nothing', async (_what, files) => {
    expect((await kernel({ 'proc/meminfo': MEMINFO, ...files })).memory()?.totalBytes).toBe(GIB)
  })

  test('a kernel that says nothing is null everywhere and throws nowhere', async () => {
    const readings = await kernel({ 'proc/stat': 'garbage', 'proc/meminfo': '' })
    expect([readings.cpuTimes(), readings.memory(), readings.stalls(), readings.diskRatio('/no/such/path')]).toEqual([null, null, [], null])
  })

  test('stalls are read where the kernel has them', async () => {
    const readings = await kernel({
      'proc/pressure/io': 'some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=1\n',
    })
    expect(readings.stalls()).toEqual([{ resource: 'io', ratio: 0.125 }])
  })

  test('the real kernel gives sensible figures', async () => {
    const readings = kernelReadings()
    const memory = readings.memory()
    expect(memory?.usedBytes).toBeGreaterThan(0)
    expect(memory?.usedBytes).toBeLessThan(memory?.totalBytes ?? 0)
    expect(readings.cpuTimes()?.totalTicks).toBeGreaterThan(0)
    expect(readings.diskRatio('/')).toBeGreaterThan(0)
    expect(readings.diskRatio('/')).toBeLessThanOrEqual(1)
  })
})

function setup(given: Partial<Readings> = {}, deps: Partial<MonitorDeps> = {}) {
  const clock = new ManualClock()
  const gauges = new Map<MetricName, () => readonly { readonly value: number }[]>()
  const folded: { readonly cpu: number }[] = []
  const state = { busy: 0, total: 0, load: 0.5, usedBytes: 0.25 * GIB, disk: 0.4 }
  const monitor = createMonitor({
    clock,
    log: silentLogger,
    meter: { count() {}, observe() {}, gauge: (name, read) => void gauges.set(name, read) },
    readings: {
      cores: 2,
      cpuTimes: () => {
        state.total += 400
        state.busy += 400 * state.load
        return { totalTicks: state.total, busyTicks: state.busy }
      },
      memory: () => ({ totalBytes: GIB, usedBytes: state.usedBytes }),
      diskRatio: () => state.disk,
      stalls: () => [{ resource: 'cpu', ratio: 0.1 }],
      ...given,
    },
    paths: ['/state'],
    reservedMemoryBytes: 2 ** 20,
    safetyBufferRatio: 0.05,
    cpuOvercommit: 4,
    allocatable: (physical, reserved) => physical - reserved,
    foldPressure: (_before, now) => {
      folded.push(now)
      return now.memory > 0.8 ? ['memory'] : []
    },
    ...deps,
  })
  return { clock, monitor, gauges, state, folded }
}

describe('the monitor', () => {
  test('capacity is what the readings say', () => {
    expect(setup().monitor.capacity()).toEqual({
      cores: 2,
      memoryBytes: GIB,
      allocatableMemoryBytes: GIB - 2 ** 20,
      allocatableCpuMillis: 8000,
    })
  })

  test('a sample every two seconds reaches usage, pressure and gauges', async () => {
    const { clock, monitor, gauges, state } = setup()
    state.usedBytes = 0.9 * GIB
    await clock.advance(2000)
    expect(monitor.usage(77)).toMatchObject({
      cpuRatio: 0.5,
      memoryRatio: 0.9,
      diskRatio: 0.4,
      reservedMemoryBytes: 77,
      pressure: ['memory'],
    })
    expect([...gauges.keys()].toSorted()).toEqual(['node_cpu_ratio', 'node_disk_ratio', 'node_memory_ratio', 'node_stall_ratio'])
    expect(gauges.get('node_memory_ratio')?.()).toEqual([{ value: 0.9 }])
    expect(gauges.get('node_stall_ratio')?.()).toEqual([{ labels: { resource: 'cpu' }, value: 0.1 }])
    state.usedBytes = 0
    await clock.advance(2000)
    expect(monitor.pressure()).toEqual([])
  })

  test('a processor busy for seconds is shown and refuses nothing, one busy for a minute does', async () => {
    const { clock, folded, state, monitor } = setup()
    state.load = 1
    await clock.advance(50_000)
    expect(monitor.usage(0).cpuRatio).toBeGreaterThan(0.9)
    expect(folded.every(({ cpu }) => cpu === 0)).toBe(true)
    await clock.advance(20_000)
    expect(folded.at(-1)?.cpu).toBe(1)
    state.load = 0
    await clock.advance(60_000)
    expect(folded.at(-1)?.cpu).toBe(0)
  })

  test('a machine that cannot be read takes nothing and puts nothing under pressure', async () => {
    const { monitor } = setup(
      { cpuTimes: () => null, memory: () => null, diskRatio: () => null, stalls: () => [] },
      { allocatable: (physical, reserved) => Math.max(0, physical - reserved) },
    )
    expect(monitor.capacity().allocatableMemoryBytes).toBe(0)
    expect(monitor.usage(0)).toMatchObject({ cpuRatio: 0, memoryRatio: 0, diskRatio: 0, pressure: [] })
  })

  test('closing leaves no timer', async () => {
    const { clock, monitor } = setup()
    monitor.close()
    expect(clock.timers).toBe(0)
  })
})
