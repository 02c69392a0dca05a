// What needs root and control groups: limits and what exceeding them looks like, freezing whole trees, other users, full disks.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { systemClock } from '../../../base/system.ts'
import type { InstanceSpec } from '../../../contracts/spec.ts'
import { driverConformance } from '../conformance.ts'
import { Bench, must, until } from '../conformance-kit.ts'
import { CGROUP_ROOT } from './cgroups.ts'
import { processHarness } from './conformance-harness.ts'
import { readStat } from './proc.ts'
import { readRecord, runOf, Want } from './records.ts'

const MEGABYTE = 2 ** 20

async function setUp(stateDir?: string) {
  const harness = processHarness(stateDir ?? (await tmpDir()), { cgroupRoot: CGROUP_ROOT })
  const bench = new Bench(harness)
  onTestFinished(async () => {
    await bench.driver[Symbol.asyncDispose]()
    await harness.dispose()
  })
  const script = (text: string, change: Partial<InstanceSpec> = {}) =>
    bench.want({ kind: 'run' }, { command: ['/bin/sh', '-c', text], memoryBytes: 32 * MEGABYTE, ...change })
  return { harness, bench, script }
}

const HOG = 'tail /dev/zero'

describeNeeds(['perl', 'cgroup'], 'process driver with control groups', () => {
  driverConformance('process, with control groups', async () => processHarness(await tmpDir(), { cgroupRoot: CGROUP_ROOT }))

  test('memory and cpu limits are those of the spec, and the status names the mode', async () => {
    const { harness, bench } = await setUp()
    const want = bench.want({ kind: 'run' }, { memoryBytes: 48 * MEGABYTE, cpuMillis: 250 })
    await bench.start(want)
    const status = await bench.driver.status(bench.signal)
    assert.ok(status.limits === 'cgroup-v1' || status.limits === 'cgroup-v2', status.detail)
    const groups = readRecord(Want, join(runOf(harness.stateDir, want.id, 1).dir, 'want'))?.groups ?? []
    const value = (names: readonly string[]) =>
      groups
        .flatMap((dir) => names.map((name) => join(dir, name)))
        .filter((path) => existsSync(path))
        .map((path) => Number(readFileSync(path, 'utf8')))
    assert.deepEqual(value(['memory.max', 'memory.limit_in_bytes']), [48 * MEGABYTE])
    assert.deepEqual(value(['cpu.weight', 'cpu.shares']), [status.limits === 'cgroup-v2' ? 25 : 256])
    assert.deepEqual((await bench.seen(want))?.notes, [])
    assert.ok(
      groups.every((dir) => readFileSync(join(dir, 'cgroup.procs'), 'utf8').trim() !== ''),
      'it is a member of every group',
    )
  })

  test('a main process over its cap ends as memory limit exceeded', async () => {
    const { bench, script } = await setUp()
    const want = script(`exec ${HOG}`)
    await bench.start(want)
    assert.deepEqual({ ...(await bench.dead(want)).exit, atMs: 0 }, { code: null, signal: 'SIGKILL', oom: true, atMs: 0 })
  })

  test('so does a shell that reports its killed child', async () => {
    const { bench, script } = await setUp()
    const want = script(`${HOG}; exit $?`)
    await bench.start(want)
    assert.deepEqual({ ...(await bench.dead(want)).exit, atMs: 0 }, { code: 137, signal: null, oom: true, atMs: 0 })
  })

  test('a killed child whose parent goes on is no end; a later end for another reason is not blamed on memory', async () => {
    const { bench, script } = await setUp()
    const want = script(`${HOG}; echo survived; sleep 1; exit 4`)
    await bench.start(want)
    await until('the parent goes on', async () => (await bench.output(want)).includes('survived'))
    assert.match((await bench.seen(want))?.notes.join() ?? '', /memory limit exceeded/)
    assert.deepEqual([(await bench.dead(want)).exit?.code, (await bench.dead(want)).exit?.oom], [4, false])
  })

  test('SIGKILL from outside is not blamed on memory', async () => {
    const { harness, bench } = await setUp()
    const want = await bench.startReady()
    const seen = await bench.seen(want)
    if (seen) await harness.kill(seen)
    assert.equal((await bench.dead(want)).exit?.oom, false)
  })

  test('pausing holds a descendant in a session of its own too', async () => {
    const { harness, bench, script } = await setUp()
    const dir = await tmpDir()
    const want = script(`setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i > ${dir}/count; sleep 0.01; done' & echo ready; wait`)
    await bench.start(want)
    await until('it counts', () => existsSync(join(dir, 'count')))
    const groups = readRecord(Want, join(runOf(harness.stateDir, want.id, 1).dir, 'want'))?.groups ?? []
    must(await bench.driver.pause(want, bench.signal))
    const members = readFileSync(join(groups[0] ?? '', 'cgroup.procs'), 'utf8')
      .trim()
      .split('\n')
      .map(Number)
    assert.ok(members.length >= 3, 'all of it is in the group')
    const ticks = () => members.map((pid) => readStat(pid)?.cpuTicks)
    const count = readFileSync(join(dir, 'count'), 'utf8')
    const before = ticks()
    // That something does not happen can only be seen over a while: it would have counted ten times.
    await systemClock.sleep(100)
    assert.deepEqual([ticks(), readFileSync(join(dir, 'count'), 'utf8')], [before, count])
    must(await bench.driver.resume(want, bench.signal))
    await until('it counts on', () => readFileSync(join(dir, 'count'), 'utf8') !== count)
  })

  test('stats come from the group: all its processes, its memory, its cap', async () => {
    const { bench, script } = await setUp()
    const want = script('setsid sleep 600 & sleep 600 & echo ready; wait')
    await bench.start(want)
    const stats = await until('three processes', async () => {
      const found = must(await bench.driver.stats(want, bench.signal))
      return found.processes === 3 && found
    })
    assert.equal(stats.memoryLimitBytes, 32 * MEGABYTE)
    assert.ok((stats.memoryBytes ?? 0) > 0 && (stats.memoryBytes ?? 0) < 32 * MEGABYTE && stats.cpuSeconds !== null)
  })

  test('groups go with their last process also while no agent runs, and leftovers of a crash at the next start', async () => {
    const { harness, bench } = await setUp()
    const want = await bench.startReady()
    const groups = readRecord(Want, join(runOf(harness.stateDir, want.id, 1).dir, 'want'))?.groups ?? []
    assert.ok(groups.length > 0 && groups.every((dir) => existsSync(dir)))
    const seen = await bench.seen(want)
    await bench.driver[Symbol.asyncDispose]()
    if (seen) await harness.kill(seen)
    await until('the keeper has removed them', () => groups.every((dir) => !existsSync(dir)))
    const leftover = `${groups[0]}-leftover`
    mkdirSync(leftover, { recursive: true })
    bench.driver = await harness.reopen()
    await bench.startReady()
    assert.equal(existsSync(leftover), false)
  })
})

describeNeeds(['perl', 'root'], 'process driver as root', () => {
  test('a process runs as the user asked for, may reopen its output, and a command beside it is the same user or another', async () => {
    const { bench } = await setUp()
    const want = bench.want(
      { kind: 'run' },
      {
        command: ['/bin/sh', '-c', 'id -u; id -G; echo again >> /dev/stdout; exec sleep 600'],
        security: { ...plain, user: 'nobody:daemon' },
      },
    )
    await bench.start(want)
    const daemon = execFileSync('id', ['-g', 'daemon'], { encoding: 'utf8' })
    const nobody = execFileSync('id', ['-u', 'nobody'], { encoding: 'utf8' })
    await until('it has written all', async () => (await bench.output(want)) === `${nobody}${daemon}again\n`)
    const ask = async (user: string | null) => (await bench.exec(want, { kind: 'run' }, { command: ['id', '-u'], user })).stdout.toString()
    assert.deepEqual([await ask(null), await ask('root')], [nobody, '0\n'])
  })

  test('a full disk: the start is refused as disk_full and nothing runs; the end of what ran before is still recorded', async () => {
    const disk = await mounted('tmpfs', 'size=2m')
    const { harness, bench } = await setUp(disk)
    const before = await bench.startReady()
    try {
      writeFileSync(join(disk, 'ballast'), Buffer.alloc(4 * MEGABYTE))
    } catch {
      // Full is what it should be.
    }
    const result = await bench.driver.start(bench.want({ kind: 'run' }), bench.signal)
    assert.equal(result.ok ? 'ok' : result.error.code, 'disk_full')
    assert.equal(must(await bench.driver.list(bench.signal)).seen.length, 1)
    const seen = await bench.seen(before)
    if (seen) await harness.kill(seen)
    assert.equal((await bench.dead(before)).exit?.signal, 'SIGKILL')
  })

  test('on a file system without holes the logs are bounded by emptying, and the count stays exact', async () => {
    const disk = await mounted('ramfs', 'mode=755')
    const harness = processHarness(disk, { logBytesMax: 64 * 1024 })
    const bench = new Bench(harness)
    onTestFinished(async () => {
      await bench.driver[Symbol.asyncDispose]()
      await harness.dispose()
    })
    const want = bench.want({ kind: 'run' }, { command: ['/bin/sh', '-c', 'seq 1 100000; sleep 5; seq 100001 100010; exec sleep 600'] })
    await bench.start(want)
    await until('the second part is written', async () => (await bench.output(want)).endsWith('100010\n'))
    const end = must(await bench.driver.logs(want, { follow: false, tailLines: null, sinceMs: null }, () => undefined, bench.signal))
    const total = Array.from({ length: 100_010 }, (_, index) => `${index + 1}\n`).join('').length
    assert.equal((await bench.output(want)).length + (end.lostBytes ?? 0), total)
    assert.equal((await bench.logs(want, { tailLines: 2 })).stdout.toString(), '100009\n100010\n')
  })
})

const plain = { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [], readOnlyRoot: false, user: null }

async function mounted(type: string, options: string): Promise<string> {
  const dir = await tmpDir()
  execFileSync('mount', ['-t', type, '-o', options, type, dir])
  onTestFinished(() => void execFileSync('umount', ['-l', dir]))
  return dir
}
