// What a workload gets, and what is kept of it: its surroundings, typed refusals, logs, commands beside it.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import type { InstanceSpec } from '../../../contracts/spec.ts'
import { Bench, joined, must, until } from '../conformance-kit.ts'
import type { LogChunk, Target, Wanted } from '../driver.ts'
import { type ProcessHarness, processHarness } from './conformance-harness.ts'
import type { ProcessDriverOptions } from './driver.ts'
import { DEFAULT_PATH } from './keeper.ts'
import { logFile, runOf, runsDir } from './records.ts'

async function setUp(change: Partial<ProcessDriverOptions> = {}): Promise<{ harness: ProcessHarness; bench: Bench }> {
  const harness = processHarness(await tmpDir(), change)
  const bench = new Bench(harness)
  onTestFinished(async () => {
    await bench.driver[Symbol.asyncDispose]()
    await harness.dispose()
  })
  return { harness, bench }
}

const script = (bench: Bench, text: string, target: Partial<Target> = {}, change: Partial<InstanceSpec> = {}): Wanted =>
  bench.want({ kind: 'run' }, { command: ['/bin/sh', '-c', text], ...change }, target)

/** The whole output of a script that ends. */
async function outputOf(bench: Bench, want: Wanted): Promise<string> {
  await bench.start(want)
  await bench.dead(want)
  return bench.output(want)
}

async function refusal(bench: Bench, change: Partial<InstanceSpec>): Promise<string> {
  const want = bench.want({ kind: 'run' }, change)
  const result = await bench.driver.start(want, bench.signal)
  assert.deepEqual(must(await bench.driver.inspect(want.id, bench.signal)), [], 'a refused start leaves nothing to see')
  await until('nothing lives', async () => (await bench.harness.leftovers()).length === 0)
  return result.ok ? 'ok' : result.error.code
}

describeNeeds('perl', 'process driver: the workload', () => {
  test('it begins with a clean slate: no signal ignored or blocked, its own session, /, umask 022, three descriptors', async () => {
    const { bench } = await setUp()
    const text = await outputOf(
      bench,
      script(
        bench,
        'exec 2>&1; grep -E "^Sig(Ign|Blk)" /proc/self/status; cut -d" " -f5,6 /proc/$$/stat; echo $$; pwd; umask; ls /proc/$$/fd',
      ),
    )
    const [ignored, blocked, group, pid, directory, mask, ...descriptors] = text.trim().split('\n')
    assert.match(`${ignored} ${blocked}`, /SigBlk:\s+0+ SigIgn:\s+0+$|SigIgn:\s+0+ SigBlk:\s+0+$/)
    assert.equal(group, `${pid} ${pid}`)
    assert.deepEqual([directory, mask, descriptors], ['/', '0022', ['0', '1', '2']])
  })

  test('its environment is what was given, a default PATH and who it is; nothing of it reaches the keeper', async () => {
    const { bench } = await setUp()
    const env = { PERL5OPT: '-Mno::such::module', PERL5LIB: '/nonexistent', LD_PRELOAD: '/nonexistent.so', LD_LIBRARY_PATH: '/nonexistent' }
    const want = script(bench, 'exec cat /proc/self/environ 2>/dev/null', {}, { env })
    const entries = (await outputOf(bench, want)).split('\0').filter((entry) => entry !== '' && !/^(PWD|TEST_MARK)=/.test(entry))
    const expected = {
      ...env,
      PATH: `${DEFAULT_PATH}:${dirname(process.execPath)}`,
      HOLDFAST_INSTANCE_ID: want.id,
      HOLDFAST_INCARNATION: '1',
      HOLDFAST_NONCE: want.nonce,
    }
    assert.deepEqual(
      entries.sort(),
      Object.entries(expected)
        .map(([name, value]) => `${name}=${value}`)
        .sort(),
    )
  })

  test('a program is found by the PATH of the workload, relative to nothing of ours', async () => {
    const { bench } = await setUp()
    const dir = await tmpDir()
    writeFileSync(join(dir, 'my-program'), '#!/bin/sh\necho found $1\n', { mode: 0o755 })
    const want = bench.want({ kind: 'run' }, { command: ['my-program', 'it'], env: { PATH: `/nonexistent:${dir}` } })
    assert.equal(await outputOf(bench, want), 'found it\n')
    assert.equal(await refusal(bench, { command: ['my-program'] }), 'command_not_found')
  })

  test('what cannot be executed is told apart, and leaves nothing', async () => {
    const { bench } = await setUp()
    const dir = await tmpDir()
    const file = (name: string, text: string, mode: number) => {
      writeFileSync(join(dir, name), text)
      chmodSync(join(dir, name), mode)
      return join(dir, name)
    }
    assert.equal(await refusal(bench, { command: [file('plain', '#!/bin/sh\n', 0o644)] }), 'command_not_found')
    assert.equal(await refusal(bench, { command: [file('no-header', 'echo hello\n', 0o755)] }), 'invalid_command')
    assert.equal(await refusal(bench, { command: [file('bad-header', '#!/no/such/shell\n', 0o755)] }), 'command_not_found')
    assert.equal(await refusal(bench, { command: [dir] }), 'command_not_found')
    assert.equal(await refusal(bench, { command: [''] }), 'invalid_command')
    assert.equal(await refusal(bench, { command: ['/bin/true', 'a\0b'] }), 'invalid_command')
    assert.equal(await refusal(bench, { command: ['/bin/true', 'x'.repeat(131_072)] }), 'invalid_command')
    assert.equal(await refusal(bench, { workingDir: '/no/such/directory' }), 'invalid_command')
  })

  test('what a process cannot be given is refused and not ignored', async () => {
    const { bench } = await setUp()
    const plain = { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [], readOnlyRoot: false, user: null }
    assert.equal(await refusal(bench, { security: { ...plain, readOnlyRoot: true } }), 'unsupported')
    assert.equal(await refusal(bench, { security: { ...plain, capabilitiesDrop: ['ALL'] } }), 'unsupported')
    assert.equal(await refusal(bench, { security: { ...plain, user: 'no-such-user' } }), 'invalid_command')
  })

  test('where limits cannot be enforced, the node and the instance say so', async () => {
    const { bench } = await setUp()
    const want = await bench.startReady()
    const status = await bench.driver.status(bench.signal)
    assert.deepEqual([status.usable, status.limits], [true, 'none'])
    assert.match(status.detail, /^limits: not enforced here/)
    assert.deepEqual((await bench.seen(want))?.notes, ['limits: not enforced here'])
  })

  test('logs are bounded also while no agent runs; what is kept and what was lost make up exactly what was written', async () => {
    const { harness, bench } = await setUp({ logBytesMax: 256 * 1024 })
    const dir = await tmpDir()
    const lines = 400_000
    const want = script(
      bench,
      `while [ ! -e ${dir}/go ]; do sleep 0.05; done; seq ${lines}; echo small >&2; touch ${dir}/done; exec sleep 600`,
    )
    await bench.start(want)
    await bench.driver[Symbol.asyncDispose]()
    writeFileSync(join(dir, 'go'), '')
    await until('all is written', () => readdirSync(dir).includes('done'))
    const file = logFile(runOf(harness.stateDir, want.id, 1), 'stdout')
    await until('the keeper has dropped the beginning', () => statSync(file).blocks * 512 <= 300 * 1024)
    bench.driver = await harness.reopen()
    const written = Buffer.from(Array.from({ length: lines }, (_, index) => `${index + 1}\n`).join(''))
    const chunks: Uint8Array[] = []
    const end = must(
      await bench.driver.logs(
        want,
        { follow: false, tailLines: null, sinceMs: null },
        (chunk) => void (chunk.stream === 'stdout' && chunks.push(chunk.data)),
        bench.signal,
      ),
    )
    const kept = Buffer.concat(chunks)
    assert.ok((end.lostBytes ?? 0) > 0, 'something was dropped')
    assert.equal(kept.length + (end.lostBytes ?? 0), written.length)
    assert.ok(kept.equals(written.subarray(end.lostBytes ?? 0)), 'what is kept is the end of what was written')
    assert.equal((await bench.logs(want, { tailLines: 1 })).stdout.toString(), `${lines}\n`)
    assert.equal((await bench.logs(want)).stderr.toString(), 'small\n')
  })

  test('following a log that is dropped under way never gives zeros and never goes back', async () => {
    const { bench } = await setUp({ logBytesMax: 64 * 1024 })
    const want = script(bench, 'seq 1 300000; sleep 3.2; seq 300001 300100')
    await bench.start(want)
    let text = ''
    must(
      await bench.driver.logs(
        want,
        { follow: true, tailLines: 5, sinceMs: null },
        ({ data }) => {
          text += Buffer.from(data).toString('latin1')
        },
        bench.signal,
      ),
    )
    const numbers = text.trim().split('\n').map(Number)
    assert.ok(!text.includes('\0'), 'no zeros from a hole')
    assert.equal(numbers.at(-1), 300_100)
    // The first of them may be cut where dropping began.
    assert.ok(
      numbers.slice(2).every((number, index) => number > (numbers[index + 1] ?? 0)),
      'ascending',
    )
  })

  /** Every number on a line of ten bytes: what is at which place in the stream is known without remembering it. */
  const LINES = 400_000
  const numbers = () => Buffer.from(Array.from({ length: LINES }, (_, index) => `${100_000_000 + index}\n`).join(''))
  const flood = (dir: string) =>
    `echo first; while [ ! -e ${dir}/go ]; do sleep 0.05; done; seq 100000000 $((100000000 + ${LINES} - 1)); touch ${dir}/done; exec sleep 600`

  /** Follows, stands still after its first piece until everything is written and the file has been bounded, and is released. */
  async function standsStill(between: (given: { bench: Bench; want: Wanted }) => Promise<void>) {
    const { harness, bench } = await setUp({ logBytesMax: 256 * 1024 })
    const dir = await tmpDir()
    const want = script(bench, flood(dir))
    await bench.start(want)
    const held = Promise.withResolvers<void>()
    const written = Buffer.concat([Buffer.from('first\n'), numbers()])
    let [at, told, pieces] = [0, 0, 0]
    const following = bench.driver.logs(
      want,
      { follow: true, tailLines: null, sinceMs: null },
      ({ data, lostBytes = 0 }) => {
        at += lostBytes
        told += lostBytes
        assert.ok(written.subarray(at, at + data.length).equals(data), `the bytes at ${at} are those that were written there`)
        at += data.length
        pieces += 1
        return held.promise
      },
      bench.signal,
    )
    await until('the first piece', () => pieces === 1)
    writeFileSync(join(dir, 'go'), '')
    await until('all is written', () => readdirSync(dir).includes('done'))
    const file = logFile(runOf(harness.stateDir, want.id, 1), 'stdout')
    await until('the keeper has dropped the beginning', () => statSync(file).blocks * 512 <= 300 * 1024)
    assert.equal(pieces, 1)
    await between({ bench, want })
    held.resolve()
    const end = must(await following)
    assert.equal(at, written.length)
    assert.ok(told > written.length / 2, 'most of it was dropped meanwhile')
    assert.equal(end.lostBytes, told)
  }

  test('a reader that stood still goes on where it was, and is told to the byte what was dropped meanwhile', () =>
    standsStill(async ({ bench, want }) => {
      void bench.stop(want, 100)
    }))

  test('a reader that stood still gets what was kept also of an incarnation that has been deleted meanwhile', () =>
    standsStill(async ({ bench, want }) => {
      await bench.stop(want, 100)
      must(await bench.driver.remove(want, bench.signal))
      must(await bench.driver.forget(want.id))
    }))

  test('who follows while it is being started gets all that is written', async () => {
    const { harness, bench } = await setUp()
    const want = script(bench, 'echo out; echo err >&2')
    const starting = bench.start(want)
    // Its record is there; its keeper, who makes the log files, may not be yet.
    await until('it is wanted', () => existsSync(join(runOf(harness.stateDir, want.id, 1).dir, 'want')))
    const got: LogChunk[] = []
    const end = must(
      await bench.driver.logs(want, { follow: true, tailLines: null, sinceMs: null }, (chunk) => void got.push(chunk), bench.signal),
    )
    await starting
    assert.equal(end.lostBytes, 0)
    assert.deepEqual([joined(got).stdout.toString(), joined(got).stderr.toString()], ['out\n', 'err\n'])
  })

  test('a stream that never pauses keeps neither the other one nor the end of a reading back', async () => {
    const { harness, bench } = await setUp()
    const dir = await tmpDir()
    // It writes a piece whenever asked to, so that there is always more than has been read.
    const want = script(bench, `echo late >&2; while :; do seq 1 20000; mkfifo ${dir}/more; read line < ${dir}/more; rm ${dir}/more; done`)
    await bench.start(want)
    const file = logFile(runOf(harness.stateDir, want.id, 1), 'stdout')
    const size = () => statSync(file).size
    await until('something is written', () => size() > 100_000 && readdirSync(dir).length === 1)
    const read = async (follow: boolean, enough: (of: { stdout: number; stderr: number }) => boolean) => {
      const stopper = new AbortController()
      const got = { stdout: 0, stderr: 0 }
      const begun = size()
      const result = await bench.driver.logs(
        want,
        { follow, tailLines: null, sinceMs: null },
        async ({ stream, data }) => {
          got[stream] += data.length
          if (enough(got)) stopper.abort()
          if (stream !== 'stdout' || stopper.signal.aborted) return
          const before = size()
          writeFileSync(join(dir, 'more'), 'on\n')
          await until('more is written', () => size() > before && readdirSync(dir).length === 1)
        },
        stopper.signal,
      )
      return { result, got, begun }
    }
    const followed = await read(true, ({ stderr }) => stderr > 0)
    assert.equal(followed.got.stderr, 5)
    const once = await read(false, () => false)
    assert.equal(must(once.result).lostBytes, 0)
    assert.deepEqual(once.got, { stdout: once.begun, stderr: 5 })
  })

  test('times of lines are not known, so asking by time is refused', async () => {
    const { bench } = await setUp()
    const want = await bench.startReady()
    const result = await bench.driver.logs(want, { follow: false, tailLines: null, sinceMs: 1 }, () => undefined, bench.signal)
    assert.equal(result.ok ? 'ok' : result.error.code, 'unsupported')
  })

  test('the last three incarnations before the present one are kept', async () => {
    const { harness, bench } = await setUp()
    const first = script(bench, 'echo 1')
    for (let incarnation = 1; incarnation <= 6; incarnation += 1) {
      const want = script(bench, `echo ${incarnation}`, { id: first.id, incarnation })
      await bench.start(want)
      await bench.dead(want)
    }
    await until('older ones are gone', () => readdirSync(runsDir(harness.stateDir, first.id)).sort().join() === '3,4,5,6')
    assert.equal(
      await bench.output({ ...first, incarnation: 3, nonce: must(await bench.driver.inspect(first.id, bench.signal))[0]?.nonce ?? '' }),
      '3\n',
    )
  })

  test('a command beside it has its environment and directory, also when adopted and when the keeper is gone', async () => {
    const { harness, bench } = await setUp()
    const want = bench.want({ kind: 'run' }, { env: { WHO: 'ünï two\nlines' }, workingDir: '/usr' })
    await bench.start(want)
    const ask = async () =>
      (
        await bench.exec(want, { kind: 'run' }, { command: ['/bin/sh', '-c', 'printf "%s|%s|%s" "$WHO" "$HOLDFAST_NONCE" "$PWD"'] })
      ).stdout.toString()
    const expected = `ünï two\nlines|${want.nonce}|/usr`
    assert.equal(await ask(), expected)
    bench.driver = await harness.reopen()
    assert.equal(await ask(), expected)
    const keeper = harness.living().find(isKeeper)
    process.kill(keeper ?? 0, 'SIGKILL')
    await until('the keeper is gone', async () => (await bench.seen(want))?.notes.some((note) => note.includes('keeper was killed')))
    assert.equal(await ask(), expected)
  })

  test('whatever a command beside it forked ends with the command; the workload does not notice', async () => {
    const { harness, bench } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    const { result } = await bench.exec(
      want,
      { kind: 'run' },
      { command: ['/bin/sh', '-c', '(setsid sleep 600 &) ; setsid sleep 600 & exit 9'] },
    )
    assert.deepEqual(result, { ok: true, value: 9 })
    await until('nothing of the command is left', async () => harness.living().length === before)
    must(await bench.driver.probe(want, bench.signal))
  })

  test('a command beside it ends with it', async () => {
    const { harness, bench } = await setUp()
    const want = await bench.startReady()
    const before = harness.living().length
    const running = bench.exec(want, { kind: 'stubborn' }, { timeoutMs: 60_000 })
    // Its keeper and the command itself: an exec that comes after the end is another story.
    await until('the command runs', async () => harness.living().length >= before + 2)
    await bench.stop(want, 100)
    const { result } = await running
    assert.equal(result.ok ? 'ok' : result.error.fields?.instance_ended, true)
  })
})

const isKeeper = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('holdfast keeper')
