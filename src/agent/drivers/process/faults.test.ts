// What may go wrong around a process: keepers, forges and agents killed at bad moments, reused pids, what workloads do to get away.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { RecordingLog } from '../../../../tests/support/recording-log.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { newId } from '../../../contracts/ids.ts'
import { Bench, must, until } from '../conformance-kit.ts'
import type { Target, Wanted } from '../driver.ts'
import { type ProcessHarness, processHarness } from './conformance-harness.ts'
import type { ProcessDriverOptions } from './driver.ts'
import { openForge } from './forge.ts'
import { isAlive, readBootId, readStat, sendSignal } from './proc.ts'
import { claim, markRemoved, readRecord, runOf, Started, writeWant } from './records.ts'

interface Setup {
  readonly harness: ProcessHarness
  readonly bench: Bench
}

async function setUp(change: Partial<ProcessDriverOptions> = {}): Promise<Setup> {
  const harness = processHarness(await tmpDir(), change)
  const bench = new Bench(harness)
  onTestFinished(async () => {
    await bench.driver[Symbol.asyncDispose]()
    await harness.dispose()
  })
  return { harness, bench }
}

const script = (bench: Bench, text: string, target: Partial<Target> = {}): Wanted =>
  bench.want({ kind: 'run' }, { command: ['/bin/sh', '-c', text] }, target)

function startedOf(harness: ProcessHarness, target: Target) {
  const run = runOf(harness.stateDir, target.id, target.incarnation)
  const started = readRecord(Started, join(run.dir, 'started'))
  assert.ok(started, 'the start is on record')
  return started
}

const DAEMON = '(setsid sh -c "setsid sleep 600 & exec sleep 600" </dev/null >/dev/null 2>&1 &)'

describeNeeds('perl', 'process driver: faults', () => {
  test('a daemon that forked twice into sessions of its own does not outlive a main process that exits', async () => {
    const { harness, bench } = await setUp()
    const want = script(bench, `${DAEMON}; sleep 0.2; exit 5`)
    await bench.start(want)
    await until('the daemon runs beside the main process and its keeper', () => harness.living().length >= 4)
    assert.equal((await bench.dead(want)).exit?.code, 5)
    await until('nothing of it lives', () => harness.living().length === 0)
  })

  test('nor one that is stopped, also when everything ignores SIGTERM', async () => {
    const { harness, bench } = await setUp()
    const want = script(bench, `trap '' TERM; ${DAEMON}; echo ready; while :; do sleep 600; done`)
    await bench.start(want)
    await until('it is ready', async () => (await bench.output(want)) === 'ready\n')
    await bench.stop(want, 100)
    assert.deepEqual(harness.living(), [])
  })

  test('T08: a zombie is dead although its pid exists and takes signals', async () => {
    // The shell becomes a sleep, which never reaps the child it inherited.
    const parent = spawn('/bin/sh', ['-c', 'sleep 0 & exec sleep 600'], { stdio: 'ignore' })
    onTestFinished(() => void parent.kill('SIGKILL'))
    const zombie = await until('the child is a zombie', () => {
      const [pid] = readFileSync(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8').trim().split(' ').map(Number)
      const stat = pid ? readStat(pid) : null
      return stat?.state === 'Z' && stat
    })
    assert.equal(sendSignal(zombie.pid, 'SIGCONT'), true)
    assert.equal(isAlive(zombie.pid, zombie.startTime), false)
  })

  test('a killed keeper leaves the workload running and said so; its end is still noticed and nothing is left', async () => {
    const { harness, bench } = await setUp()
    await bench.watch()
    const want = script(bench, `${DAEMON}; echo ready; exec sleep 600`)
    await bench.start(want)
    await until('it is ready', async () => (await bench.output(want)) === 'ready\n')
    const { keeperPid, keeperStartTime, pid } = startedOf(harness, want)
    process.kill(keeperPid, 'SIGKILL')
    await until('the keeper is dead', () => !isAlive(keeperPid, keeperStartTime))
    const seen = await bench.seen(want)
    assert.deepEqual([seen?.state, seen?.pid, seen?.matches], ['running', pid, true])
    assert.match(seen?.notes.join() ?? '', /keeper was killed/)
    process.kill(pid, 'SIGKILL')
    await until('its end is reported', () => bench.exits(want.id) === 1)
    const dead = await bench.dead(want)
    assert.deepEqual([dead.exit, dead.matches], [null, true])
    await until('its daemon has been ended', () => harness.living().length === 0)
  })

  test('one whose keeper was killed, adopted by another agent, can be stopped with all it forked', async () => {
    const { harness, bench } = await setUp()
    const want = script(bench, `trap '' TERM; ${DAEMON}; echo ready; while :; do sleep 600; done`)
    await bench.start(want)
    await until('it is ready', async () => (await bench.output(want)) === 'ready\n')
    const { keeperPid } = startedOf(harness, want)
    bench.driver = await harness.reopen()
    await bench.watch()
    process.kill(keeperPid, 'SIGKILL')
    assert.equal(await bench.stop(want, 100), null)
    assert.deepEqual(harness.living(), [])
  })

  test('a killed forge takes no workload along and the next start works', async () => {
    const { harness, bench } = await setUp()
    const first = await bench.startReady()
    const keeper = readStat(startedOf(harness, first).keeperPid)
    process.kill(keeper?.parentPid ?? 0, 'SIGKILL')
    await bench.startReady()
    must(await bench.driver.probe(first, bench.signal))
  })

  test('T08: a reused pid is dead, does not match and is never signalled', async () => {
    const { harness, bench } = await setUp()
    const self = readStat(process.pid)
    assert.ok(self, 'we have an entry in /proc')
    const want = bench.want({ kind: 'run' })
    plant(harness, want, { pid: process.pid, startTime: String(Number(self.startTime) - 1) })
    const seen = await bench.seen(want)
    assert.deepEqual([seen?.state, seen?.pid, seen?.exit, seen?.matches], ['dead', null, null, false])
    // Had it been signalled, this very process would be gone.
    assert.equal(await bench.stop(want, 0), null)
    must(await bench.driver.remove(want, bench.signal))
  })

  test('T14: a process with another nonce is running but not ours: refused and left alone', async () => {
    const { harness, bench } = await setUp()
    const stranger = spawn('/bin/sleep', ['600'], { stdio: 'ignore', env: { HOLDFAST_NONCE: 'another' } })
    onTestFinished(() => void stranger.kill('SIGKILL'))
    const pid = stranger.pid ?? 0
    const startTime = await until(
      'it has executed',
      () => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('sleep') && readStat(pid)?.startTime,
    )
    const want = bench.want({ kind: 'run' })
    plant(harness, want, { pid, startTime })
    const seen = await bench.seen(want)
    assert.deepEqual([seen?.state, seen?.matches], ['running', false])
    assert.equal(await bench.stop(want, 0), null)
    must(await bench.driver.remove(want, bench.signal))
    const probe = await bench.driver.probe(want, bench.signal)
    assert.equal(probe.ok ? 'ok' : probe.error.code, 'process_mismatch')
    assert.equal(isAlive(pid, startTime), true)
  })

  test('a start that died with its agent before a keeper came is not there; it can be made again, and no late keeper comes', async () => {
    const { harness, bench } = await setUp()
    const want = bench.want({ kind: 'run' })
    const run = runOf(harness.stateDir, want.id, 1)
    mkdirSync(join(run.dir, 'logs'), { recursive: true })
    writeWant(run, { nonce: want.nonce, addresses: [], memoryBytes: 1, groups: [], notes: [] })
    assert.deepEqual(must(await bench.driver.list(bench.signal)), { complete: true, seen: [] })
    const forge = openForge('/usr/bin/perl', process.arch, harness.stateDir)
    onTestFinished(() => forge.close())
    await new Promise<void>((resolve) =>
      forge.make({ id: want.id, nonce: want.nonce, cwd: '/', log_bytes_max: '1', cgroups: '', a0: '/bin/sleep', a1: '600' }, run.dir, () =>
        resolve(),
      ),
    )
    assert.ok(!readdirSync(run.dir).includes('starting') && !readdirSync(run.dir).includes('started'))
    assert.equal((await bench.start(want)).state, 'running')
  })

  test('a keeper killed before it gave its word started nothing; the incarnation can be started', async () => {
    const { harness, bench } = await setUp()
    const want = bench.want({ kind: 'run' })
    const run = runOf(harness.stateDir, want.id, 1)
    mkdirSync(join(run.dir, 'logs'), { recursive: true })
    writeWant(run, { nonce: want.nonce, addresses: [], memoryBytes: 1, groups: [], notes: [] })
    writeFileSync(join(run.dir, 'lock'), JSON.stringify({ keeperPid: 4_000_000, keeperStartTime: '1', bootId: readBootId(), jobFd: 3 }))
    writeFileSync(join(run.dir, 'starting'), '{"pid":')
    assert.equal(await bench.seen(want), undefined)
    assert.equal((await bench.start(want)).state, 'running')
  })

  test('after a reboot everything is dead, whatever now has its pids', async () => {
    const { harness, bench } = await setUp()
    const stat = readStat(process.pid)
    const want = bench.want({ kind: 'run' })
    plant(harness, want, {
      pid: process.pid,
      startTime: stat?.startTime ?? '',
      keeperPid: process.pid,
      keeperStartTime: stat?.startTime ?? '',
      bootId: 'another boot',
    })
    assert.equal((await bench.seen(want))?.state, 'dead')
    assert.equal(await bench.stop(want, 0), null)
  })

  test('a removed incarnation is not started again', async () => {
    const { harness, bench } = await setUp()
    const want = await bench.startReady()
    await bench.stop(want, 100)
    markRemoved(runOf(harness.stateDir, want.id, 1))
    const result = await bench.driver.start(want, bench.signal)
    assert.equal(result.ok ? 'ok' : result.error.code, 'wrong_state')
  })

  test('an instance that cannot be read makes the listing incomplete, not shorter than it says', async () => {
    const { harness, bench } = await setUp()
    const want = await bench.startReady()
    const broken = newId.instance(systemClock, systemRandom)
    mkdirSync(join(runOf(harness.stateDir, broken, 1).dir, 'want'), { recursive: true })
    const listing = must(await bench.driver.list(bench.signal))
    assert.deepEqual([listing.complete, listing.seen.map((seen) => seen.id)], [false, [want.id]])
    const inspected = await bench.driver.inspect(broken, bench.signal)
    assert.equal(inspected.ok ? 'ok' : inspected.error.code, 'file_error')
  })

  test.each(['want', 'started'])(
    'a living workload whose %s is not what was written is not absent: its instance is unknown',
    async (name) => {
      const log = new RecordingLog()
      const { harness, bench } = await setUp({ log })
      const other = await bench.startReady()
      const want = await bench.startReady()
      const { pid } = startedOf(harness, want)
      const file = join(runOf(harness.stateDir, want.id, 1).dir, name)
      const written = readFileSync(file, 'utf8')
      bench.driver = await harness.reopen()
      for (const changed of ['', '{"of":"another version"}']) {
        writeFileSync(file, changed)
        const listing = must(await bench.driver.list(bench.signal))
        assert.deepEqual([listing.complete, listing.seen.map((seen) => seen.id)], [false, [other.id]])
        const inspected = await bench.driver.inspect(want.id, bench.signal)
        assert.equal(inspected.ok ? 'ok' : inspected.error.code, 'file_error')
        assert.ok(!inspected.ok && inspected.error.detail.includes(file), 'the file is named')
        const again = await bench.driver.start({ ...want, incarnation: 1 }, bench.signal)
        assert.equal(again.ok ? 'ok' : again.error.code, 'file_error')
      }
      assert.deepEqual(log.said(), ['warn instance could not be read'])
      writeFileSync(file, written)
      assert.equal((await bench.seen(want))?.pid, pid)
      assert.equal(must(await bench.driver.list(bench.signal)).complete, true)
    },
  )

  test('one whose files were cut short by a power loss is dead: they are older than the boot', async () => {
    const { harness, bench } = await setUp()
    const [lostWant, lostStart] = [bench.want({ kind: 'run' }), bench.want({ kind: 'run' })]
    plant(harness, lostWant, { bootId: 'another boot' })
    plant(harness, lostStart, { bootId: 'another boot' })
    for (const file of [
      join(runOf(harness.stateDir, lostWant.id, 1).dir, 'want'),
      join(runOf(harness.stateDir, lostStart.id, 1).dir, 'started'),
      join(runOf(harness.stateDir, lostStart.id, 1).dir, 'lock'),
    ]) {
      writeFileSync(file, '')
      utimesSync(file, 1, 1)
    }
    assert.deepEqual(must(await bench.driver.list(bench.signal)), { complete: true, seen: [] })
    assert.equal((await bench.start(lostWant)).state, 'running')
  })

  test('claiming a place works once', async () => {
    const dir = await tmpDir()
    const run = { id: newId.instance(systemClock, systemRandom), incarnation: 1, dir }
    assert.deepEqual([claim(run), claim(run)], [true, false])
    assert.deepEqual(readdirSync(dir), ['lock'])
  })

  test('without Perl the runtime says what to install, and a start is refused', async () => {
    const { bench } = await setUp({ perlPaths: ['/nonexistent/perl'] })
    const status = await bench.driver.status(bench.signal)
    assert.deepEqual([status.usable, status.fix], [false, 'apt-get install perl-base'])
    const result = await bench.driver.start(bench.want({ kind: 'run' }), bench.signal)
    assert.equal(result.ok ? 'ok' : result.error.code, 'runtime_unavailable')
  })
})

/** Files as a keeper would have left them, that say what the test wants; the keeper itself is gone. */
function plant(harness: ProcessHarness, want: Wanted, change: Partial<Started>): void {
  const run = runOf(harness.stateDir, want.id, want.incarnation)
  mkdirSync(join(run.dir, 'logs'), { recursive: true })
  writeWant(run, { nonce: want.nonce, addresses: [], memoryBytes: 1, groups: [], notes: [] })
  const keeper = { keeperPid: 4_000_000, keeperStartTime: '1', bootId: readBootId(), jobFd: 3 }
  writeFileSync(join(run.dir, 'lock'), JSON.stringify(keeper))
  writeFileSync(join(run.dir, 'started'), JSON.stringify({ ...keeper, pid: 4_000_001, startTime: '1', atMs: 1, ...change }))
}
