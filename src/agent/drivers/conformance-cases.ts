// The cases of the driver conformance suite: each name is a promise that every driver keeps. See conformance.ts.
import assert from 'node:assert/strict'
import { systemClock, systemRandom } from '../../base/system.ts'
import { type Bench, joined, must, type Program, until } from './conformance-kit.ts'
import { strangers } from './conformance-strangers.ts'
import type { Emit, LogChunk } from './driver.ts'

type Case = (bench: Bench) => Promise<void>

const NASTY = ['two words', 'single \' double " dollar $HOME `tick` \\', 'ünïcödé ☃ 𝄞', 'line\nbreak\ttab', '', '*', '-n']
const BYTES = Buffer.from(Array.from({ length: 256 }, (_, index) => index))

/** A reader that takes nothing until released or aborted. */
function heldReader(signal?: AbortSignal) {
  const released = Promise.withResolvers<void>()
  signal?.addEventListener('abort', () => released.resolve(), { once: true })
  const held = { stdout: 0, stderr: 0 }
  let [pieces, mostAtOnce] = [0, 0]
  const emit: Emit = async ({ stream }) => {
    pieces += 1
    held[stream] += 1
    mostAtOnce = Math.max(mostAtOnce, held[stream])
    await released.promise
    held[stream] -= 1
  }
  return { emit, release: () => released.resolve(), pieces: () => pieces, mostAtOnce: () => mostAtOnce }
}

const life = {
  'a started instance runs, and list and inspect see it with pid, start time and nonce': async (bench) => {
    const want = await bench.startReady()
    const listing = must(await bench.driver.list(bench.signal))
    const listed = listing.seen.find((one) => one.id === want.id)
    const seen = await bench.seen(want)
    assert.equal(listing.complete, true)
    assert.equal(listed?.state, 'running')
    assert.deepEqual([seen?.state, seen?.nonce, seen?.incarnation, seen?.matches], ['running', want.nonce, 1, true])
    assert.ok((seen?.pid ?? 0) > 1 && seen?.startTime, 'pid and start time are known')
    must(await bench.driver.probe(want, bench.signal))
  },
  'C42: starting the same incarnation again, also at the same moment, makes no second object': async (bench) => {
    const want = bench.want({ kind: 'run' })
    must(await bench.driver.prepare(want, bench.signal))
    const [one, two] = await Promise.all([bench.driver.start(want, bench.signal), bench.driver.start(want, bench.signal)])
    const three = must(await bench.driver.start(want, bench.signal))
    assert.deepEqual([must(one).pid, must(two).pid], [three.pid, three.pid])
    assert.equal(must(await bench.driver.inspect(want.id, bench.signal)).length, 1)
  },
  'an incarnation that has ended is never run again by another start': async (bench) => {
    const want = bench.want({ kind: 'exit', code: 3 })
    await bench.start(want)
    await bench.dead(want)
    const again = must(await bench.driver.start(want, bench.signal))
    assert.deepEqual([again.state, again.exit?.code], ['dead', 3])
  },
  'the next incarnation is another object with its own pid': async (bench) => {
    const first = await bench.startReady()
    const before = await bench.seen(first)
    await bench.stop(first, 100)
    const second = bench.want({ kind: 'run' }, {}, { id: first.id, incarnation: 2 })
    const seen = await bench.start(second)
    assert.notEqual(seen.pid, before?.pid)
    assert.equal((await bench.seen(second))?.nonce, second.nonce)
  },
  'twenty starts at once all run, each exactly once': async (bench) => {
    const wants = Array.from({ length: 20 }, () => bench.want({ kind: 'run' }))
    const seen = await Promise.all(wants.map((want) => bench.start(want)))
    assert.equal(new Set(seen.map((one) => one.pid)).size, 20)
    const listed = must(await bench.driver.list(bench.signal)).seen.filter((one) => one.state === 'running')
    assert.deepEqual(listed.map((one) => one.id).sort(), wants.map((want) => want.id).sort())
  },
  'C43: a command that does not exist is command_not_found and leaves nothing': async (bench) => {
    const want = bench.want({ kind: 'missing' })
    must(await bench.driver.prepare(want, bench.signal))
    const result = await bench.driver.start(want, bench.signal)
    assert.equal(result.ok ? 'ok' : result.error.code, 'command_not_found')
    const left = must(await bench.driver.inspect(want.id, bench.signal)).filter((one) => one.state === 'running')
    assert.deepEqual(left, [])
  },
  'arguments and environment arrive byte for byte': async (bench) => {
    const env = { SPACES: ' a  b ', QUOTES: `'"\`$HOME`, UNICODE: 'ü☃𝄞', LINES: 'one\ntwo\n', EMPTY: '', EQUALS: 'a=b=c' }
    const want = bench.want({ kind: 'dump', args: NASTY }, { env })
    await bench.start(want)
    const wanted = Object.entries({ ...env, ...want.platformEnv }).map(([key, value]) => `${key}=${value}`)
    const words = await until('the whole dump is in the log', async () => {
      const found = (await bench.output(want)).split('\0')
      return wanted.every((line) => found.includes(line)) && found
    })
    assert.deepEqual(words.slice(0, NASTY.length), NASTY)
    assert.ok(!words.some((line) => line.startsWith('HOLDFAST_TOKEN=')), "the agent's own environment does not leak")
  },
} as const satisfies Record<string, Case>

const ends = {
  'stop lets a willing workload end by itself within the grace': async (bench) => {
    const want = await bench.startReady()
    const begunMs = systemClock.elapsedMs()
    const exit = await bench.stop(want, 15_000)
    assert.ok(systemClock.elapsedMs() - begunMs < 10_000, 'it did not wait for the whole grace')
    assert.ok(exit?.code === 0 || exit?.signal === 'SIGTERM', `a graceful end, not ${JSON.stringify(exit)}`)
    assert.equal((await bench.dead(want)).state, 'dead')
  },
  'stop kills what ignores the signal after the grace, not before': async (bench) => {
    const want = await bench.startReady('stubborn')
    const begunMs = systemClock.elapsedMs()
    const exit = await bench.stop(want, 300)
    assert.ok(systemClock.elapsedMs() - begunMs >= 295, 'the grace was given')
    assert.ok(exit?.signal === 'SIGKILL' || exit?.code === 137, `killed, not ${JSON.stringify(exit)}`)
  },
  'stop of what is not there is ok; stop again gives the same end': async (bench) => {
    assert.equal(await bench.stop({ id: bench.want({ kind: 'run' }).id, incarnation: 1, nonce: 'none' }), null)
    const want = await bench.startReady()
    const exit = await bench.stop(want, 100)
    assert.deepEqual(await bench.stop(want, 100), exit)
  },
  'remove takes it out of the listing, again is ok, and the logs stay': async (bench) => {
    const want = await bench.startReady()
    await bench.stop(want, 100)
    must(await bench.driver.remove(want, bench.signal))
    must(await bench.driver.remove(want, bench.signal))
    assert.equal(await bench.seen(want), undefined)
    assert.deepEqual(must(await bench.driver.list(bench.signal)).seen, [])
  },
  'remove of a running one leaves nothing running': async (bench) => {
    const want = await bench.startReady('stubborn')
    must(await bench.driver.remove(want, bench.signal))
    assert.equal(await bench.seen(want), undefined)
    assert.deepEqual(await bench.harness.leftovers(), [])
  },
  'exit code 3 is exit code 3': async (bench) => {
    const want = bench.want({ kind: 'exit', code: 3 })
    await bench.start(want)
    const { exit } = await bench.dead(want)
    assert.deepEqual([exit?.code, exit?.signal, exit?.oom], [3, null, false])
  },
  'exit code 137 is a code, not a signal': async (bench) => {
    const want = bench.want({ kind: 'exit', code: 137 })
    await bench.start(want)
    const { exit } = await bench.dead(want)
    assert.deepEqual([exit?.code, exit?.signal, exit?.oom], [137, null, false])
  },
  'death by SIGKILL is told apart and is noticed by event': async (bench) => {
    await bench.watch()
    const want = await bench.startReady()
    const seen = await bench.seen(want)
    assert.ok(seen, 'it is seen')
    await bench.harness.kill(seen)
    await until('the exit event arrives', () => bench.exits(want.id) > 0)
    const { exit, pid } = await bench.dead(want)
    assert.deepEqual([exit?.code, exit?.signal, exit?.oom, pid], [null, 'SIGKILL', false, null])
    const probe = await bench.driver.probe(want, bench.signal)
    assert.equal(probe.ok ? 'ok' : probe.error.code, 'process_dead')
  },
  'an exit by itself is noticed by event': async (bench) => {
    await bench.watch()
    const want = bench.want({ kind: 'exit', code: 0 })
    await bench.start(want)
    await until('the exit event arrives', () => bench.exits(want.id) > 0)
    const dead = await bench.dead(want)
    assert.equal(dead.exit?.code, 0)
    // Where the event says how it ended, it says the same as a later look.
    for (const event of bench.events)
      if (event.kind === 'instance' && event.ended)
        assert.deepEqual([event.ended.incarnation, event.ended.nonce, event.ended.exit.code], [want.incarnation, want.nonce, 0])
  },
} as const satisfies Record<string, Case>

const evidence = {
  'logs are binary safe and keep the streams apart': async (bench) => {
    const want = bench.want({ kind: 'print', stdout: BYTES, stderr: Buffer.from('to stderr\n') })
    await bench.start(want)
    const logs = await until('both are in the logs', async () => {
      const found = await bench.logs(want)
      return found.stdout.length >= 256 && found.stderr.length >= 10 && found
    })
    assert.ok(logs.stdout.equals(BYTES), 'all 256 byte values, unchanged')
    assert.equal(logs.stderr.toString(), 'to stderr\n')
  },
  'tail gives the last lines': async (bench) => {
    const text = Array.from({ length: 50 }, (_, index) => `line ${index}\n`).join('')
    const want = bench.want({ kind: 'print', stdout: Buffer.from(text), stderr: Buffer.alloc(0) })
    await bench.start(want)
    await until('all is printed', async () => (await bench.output(want)) === text)
    assert.equal((await bench.logs(want, { tailLines: 2 })).stdout.toString(), 'line 48\nline 49\n')
    assert.equal((await bench.logs(want, { tailLines: 0 })).stdout.length, 0)
  },
  'logs of an ended incarnation are kept beside those of the next': async (bench) => {
    const first = bench.want({ kind: 'print', stdout: Buffer.from('first\n'), stderr: Buffer.alloc(0) })
    await bench.start(first)
    await until('it printed', async () => (await bench.output(first)) === 'first\n')
    await bench.stop(first, 100)
    const second = bench.want({ kind: 'run' }, {}, { id: first.id, incarnation: 2 })
    await bench.start(second)
    assert.equal(await bench.output(first), 'first\n')
    assert.ok(!(await bench.output(second)).includes('first'))
  },
  'following gives what is there, then what comes, and ends with the workload': async (bench) => {
    const want = bench.want({ kind: 'print', stdout: Buffer.from('hello\n'), stderr: Buffer.alloc(0) })
    await bench.start(want)
    const chunks: LogChunk[] = []
    const followed = bench.driver.logs(
      want,
      { follow: true, tailLines: null, sinceMs: null },
      (chunk) => void chunks.push(chunk),
      bench.signal,
    )
    await until('the line arrives while following', () => joined(chunks).stdout.toString() === 'hello\n')
    await bench.stop(want, 100)
    assert.equal(must(await followed).lostBytes ?? 0, 0)
  },
  'following stops well when aborted': async (bench) => {
    const want = await bench.startReady()
    const stopper = new AbortController()
    const followed = bench.driver.logs(want, { follow: true, tailLines: null, sinceMs: null }, () => stopper.abort(), stopper.signal)
    if (bench.harness.runtime === 'fake') stopper.abort()
    assert.equal((await followed).ok, true)
  },
  'C28: exec gives the exit code and both streams': async (bench) => {
    const want = await bench.startReady()
    assert.deepEqual((await bench.exec(want, { kind: 'exit', code: 7 })).result, { ok: true, value: 7 })
    assert.deepEqual((await bench.exec(want, { kind: 'exit', code: 0 })).result, { ok: true, value: 0 })
    const own = await bench.exec(want, { kind: 'exit', code: 126 })
    assert.deepEqual([own.result, own.stderr.toString()], [{ ok: true, value: 126 }, ''])
  },
  'exec of what cannot be run ends as in a shell, 127 or 126, with one line on standard error': async (bench) => {
    const want = await bench.startReady()
    for (const kind of ['missing', 'unknown', 'unexecutable'] as const) {
      const [code, said] = kind === 'unexecutable' ? [126, / cannot be executed\n$/] : [127, / was not found\n$/]
      const { result, stdout, stderr } = await bench.exec(want, { kind })
      assert.deepEqual([result, stdout.toString()], [{ ok: true, value: code }, ''])
      assert.match(stderr.toString(), said)
    }
  },
  'exec passes standard input unchanged': async (bench) => {
    const want = await bench.startReady()
    const done = await bench.exec(want, { kind: 'cat' }, { stdin: BYTES })
    assert.deepEqual(done.result, { ok: true, value: 0 })
    assert.ok(done.stdout.equals(BYTES), 'all 256 byte values, unchanged')
  },
  'output waits for a reader that takes its time, one piece of a stream at once; then it gets every byte': async (bench) => {
    const want = await bench.startReady()
    const slow = heldReader()
    const sent = Buffer.from(Array.from({ length: 4 * 2 ** 20 }, (_, index) => index % 251))
    const running = bench.exec(want, { kind: 'cat' }, { stdin: sent, timeoutMs: 60_000 }, slow.emit)
    await until('the first piece', () => slow.pieces() > 0)
    // What is asked meanwhile does not wait with it, and proves that time has passed in which nothing more was handed on.
    assert.deepEqual((await bench.exec(want, { kind: 'exit', code: 7 })).result, { ok: true, value: 7 })
    assert.equal(slow.pieces(), 1)
    slow.release()
    const done = await running
    assert.deepEqual(done.result, { ok: true, value: 0 })
    assert.ok(done.stdout.equals(sent), 'every byte, in order')
    assert.equal(slow.mostAtOnce(), 1)
  },
  'a reader that stands still keeps nothing from being cancelled': async (bench) => {
    const want = bench.want({ kind: 'print', stdout: BYTES, stderr: Buffer.from('to stderr\n') })
    await bench.start(want)
    // The engine hands an unfinished line over at the end of the workload only.
    const stopper = new AbortController()
    const slow = heldReader(stopper.signal)
    const followed = bench.driver.logs(want, { follow: true, tailLines: null, sinceMs: null }, slow.emit, stopper.signal)
    await until('the first piece', () => slow.pieces() > 0)
    stopper.abort()
    assert.equal((await followed).ok, true)
    const live = await bench.startReady()
    const given = { stdin: Buffer.alloc(2 ** 20, 'x'), command: bench.harness.command({ kind: 'cat' }), timeoutMs: 60_000, user: null }
    const other = new AbortController()
    const held = heldReader(other.signal)
    const running = bench.driver.exec(live, given, held.emit, other.signal)
    await until('the first piece', () => held.pieces() > 0)
    other.abort()
    const result = await running
    // The fake's command ends with its output, and then there is nothing left to cancel.
    if (bench.harness.runtime !== 'fake') assert.equal(result.ok ? 'ok' : result.error.code, 'cancelled')
  },
  'exec ends at its timeout and says so': async (bench) => {
    const want = await bench.startReady()
    const begunMs = systemClock.elapsedMs()
    const { result } = await bench.exec(want, { kind: 'stubborn' }, { timeoutMs: 300 })
    assert.ok(systemClock.elapsedMs() - begunMs < 5000, 'it did not wait for the command')
    assert.deepEqual(result.ok ? 'ok' : [result.error.code, result.error.fields?.timed_out], ['exec_failed', true])
    must(await bench.driver.probe(want, bench.signal))
  },
  'exec that nobody listens to gives the same outcomes': async (bench) => {
    const want = await bench.startReady()
    const ask = (program: Program, timeoutMs = 10_000) =>
      bench.driver.exec(want, { command: bench.harness.command(program), stdin: null, timeoutMs, user: null }, null, bench.signal)
    assert.deepEqual(await ask({ kind: 'exit', code: 7 }), { ok: true, value: 7 })
    assert.deepEqual(await ask({ kind: 'exit', code: 0 }), { ok: true, value: 0 })
    assert.deepEqual(await ask({ kind: 'missing' }), { ok: true, value: 127 })
    const late = await ask({ kind: 'stubborn' }, 300)
    assert.deepEqual(late.ok ? 'ok' : [late.error.code, late.error.fields?.timed_out], ['exec_failed', true])
    must(await bench.driver.probe(want, bench.signal))
  },
  'exec in what does not run is wrong_state': async (bench) => {
    const want = await bench.startReady()
    await bench.stop(want, 100)
    const { result } = await bench.exec(want, { kind: 'exit', code: 0 })
    assert.equal(result.ok ? 'ok' : result.error.code, 'wrong_state')
  },
  'a paused one is seen paused, resumes, and can be stopped while paused': async (bench) => {
    const want = await bench.startReady()
    for (const _ of [1, 2]) must(await bench.driver.pause(want, bench.signal))
    await until('it is seen paused', async () => (await bench.seen(want))?.state === 'paused')
    for (const _ of [1, 2]) must(await bench.driver.resume(want, bench.signal))
    await until('it is seen running', async () => (await bench.seen(want))?.state === 'running')
    must(await bench.driver.pause(want, bench.signal))
    const exit = await bench.stop(want, 5000)
    assert.ok(exit?.code === 0 || exit?.signal === 'SIGTERM', `a graceful end, not ${JSON.stringify(exit)}`)
  },
  'stats tell memory and processes of a running one': async (bench) => {
    const want = await bench.startReady()
    const stats = must(await bench.driver.stats(want, bench.signal))
    assert.ok((stats.memoryBytes ?? 0) > 0 && (stats.processes ?? 0) >= 1, JSON.stringify(stats))
  },
} as const satisfies Record<string, Case>

const trust = {
  'T35: a second driver on the same state finds it running with the same pid; nothing is restarted': async (bench) => {
    const want = await bench.startReady()
    const before = await bench.seen(want)
    bench.driver = await bench.harness.reopen()
    const after = await bench.seen(want)
    assert.deepEqual([after?.state, after?.pid, after?.startTime, after?.nonce], ['running', before?.pid, before?.startTime, want.nonce])
    must(await bench.driver.probe(want, bench.signal))
    await bench.watch()
    if (after) await bench.harness.kill(after)
    await until('the exit event reaches the adopter', () => bench.exits(want.id) > 0)
    assert.equal((await bench.dead(want)).exit?.signal, 'SIGKILL')
  },
  'an end while no driver looked is known afterwards, with its exit': async (bench) => {
    const want = await bench.startReady()
    const before = await bench.seen(want)
    await bench.driver[Symbol.asyncDispose]()
    if (before) await bench.harness.kill(before)
    bench.driver = await bench.harness.reopen()
    const { exit } = await bench.dead(want)
    assert.deepEqual([exit?.code, exit?.signal], [null, 'SIGKILL'])
  },
  'a wrong nonce touches nothing': async (bench) => {
    const want = await bench.startReady()
    const impostor = { ...want, nonce: systemRandom.text(24) }
    assert.equal(await bench.stop(impostor, 0), null)
    must(await bench.driver.remove(impostor, bench.signal))
    for (const verb of ['probe', 'pause', 'stats'] as const) {
      const result = await bench.driver[verb](impostor, bench.signal)
      assert.equal(result.ok ? 'ok' : result.error.code, 'process_mismatch', verb)
    }
    must(await bench.driver.probe(want, bench.signal))
    assert.equal((await bench.seen(want))?.state, 'running')
  },
  'C54: what is not ours is neither listed nor touched': async (bench) => {
    const foreign = await bench.harness.foreign()
    try {
      const want = await bench.startReady()
      assert.deepEqual(
        must(await bench.driver.list(bench.signal)).seen.map((one) => one.id),
        [want.id],
      )
      await bench.stop(want, 100)
      must(await bench.driver.remove(want, bench.signal))
      must(await bench.driver.forget(want.id))
      assert.equal(await foreign.alive(), true)
    } finally {
      await foreign.dispose()
    }
  },
  'an aborted signal ends a call soon with cancelled': async (bench) => {
    const want = await bench.startReady('stubborn')
    const begunMs = systemClock.elapsedMs()
    const stopped = await bench.driver.stop(want, { signal: 'SIGTERM', graceMs: 60_000 }, AbortSignal.timeout(100))
    const started = await bench.driver.start(bench.want({ kind: 'run' }), AbortSignal.abort())
    assert.ok(systemClock.elapsedMs() - begunMs < 5000, 'it came back soon')
    assert.deepEqual(
      [stopped, started].map((result) => (result.ok ? 'ok' : result.error.code)),
      ['cancelled', 'cancelled'],
    )
  },
  'C77: after stop, remove and forget nothing is left': async (bench) => {
    const wants = await Promise.all([bench.startReady(), bench.startReady('stubborn')])
    for (const want of wants) {
      await bench.stop(want, 50)
      must(await bench.driver.remove(want, bench.signal))
      must(await bench.driver.forget(want.id))
      const logs = await bench.driver.logs(want, { follow: false, tailLines: null, sinceMs: null }, () => undefined, bench.signal)
      assert.equal(logs.ok ? 'ok' : logs.error.code, 'not_found')
    }
    assert.deepEqual(await bench.harness.leftovers(), [])
  },
  'disposing leaves the workloads running': async (bench) => {
    const want = await bench.startReady()
    await bench.driver[Symbol.asyncDispose]()
    bench.driver = await bench.harness.reopen()
    must(await bench.driver.probe(want, bench.signal))
  },
} as const satisfies Record<string, Case>

const ALL = { ...life, ...ends, ...evidence, ...trust, ...strangers }
export type CaseName = keyof typeof ALL
export const CASES: Readonly<Record<CaseName, Case>> = ALL
