import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type DockerHarness, dockerHarness } from '../../../../tests/support/docker-harness.ts'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { type PrivateDocker, privateDocker } from '../../../../tests/support/private-docker.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import { Bench, must } from '../conformance-kit.ts'

describeNeeds(['docker', 'root'], 'docker driver: a daemon that goes away', () => {
  let docker: PrivateDocker
  beforeAll(async () => {
    docker = await privateDocker()
  }, 120_000)
  afterAll(() => docker[Symbol.asyncDispose](), 120_000)

  async function open(): Promise<{
    bench: Bench
    harness: DockerHarness
    runtime(): boolean[]
    until(what: string, so: () => unknown): Promise<unknown>
  }> {
    const harness = await dockerHarness({ socketPath: docker.socketPath })
    onTestFinished(() => harness.dispose())
    const bench = new Bench(harness)
    await bench.watch()
    return {
      bench,
      harness,
      runtime: () => bench.events.flatMap((event) => (event.kind === 'runtime' ? [event.reachable] : [])),
      until: (what, so) => waitFor(so, { what, deadlineMs: 30_000 }),
    }
  }

  test('killed: unreachable and never missing, then reachable; what runs was not touched', async () => {
    const { bench, runtime, until } = await open()
    const want = await bench.startReady()
    const before = await bench.seen(want)
    docker.signal('SIGKILL')
    await until('unreachable is told', () => runtime().at(-1) === false)
    const during = await bench.driver.list(bench.signal)
    // Either it does not answer, or it is back already and has everything: an empty listing is what must not be.
    expect(during.ok ? during.value.seen.map((seen) => seen.state) : during.error.code).toEqual(
      during.ok ? ['running'] : 'runtime_unreachable',
    )
    await until('reachable is told', () => runtime().at(-1) === true)
    const after = await bench.seen(want)
    expect([after?.state, after?.pid, after?.startTime]).toEqual(['running', before?.pid, before?.startTime])
    expect(runtime()).toEqual([true, false, true])
  })

  test('a container killed while the daemon was down raises no event: it is found dead after the reconnect', async () => {
    const { bench, harness, runtime, until } = await open()
    const want = await bench.startReady()
    const seen = await bench.seen(want)
    docker.signal('SIGKILL')
    if (seen) await harness.kill(seen)
    await until('reachable again', () => runtime().at(-1) === true && runtime().length > 1)
    const dead = await bench.dead(want)
    expect([dead.pid, dead.state]).toEqual([null, 'dead'])
    expect(must(await bench.driver.list(bench.signal)).seen.map((one) => one.state)).toEqual(['dead'])
  })

  test('stopped (SIGSTOP): its socket still accepts, every call ends at its deadline, workloads live on; continued: all is as before', async () => {
    const { bench, runtime, until } = await open()
    const want = await bench.startReady()
    const before = await bench.seen(want)
    docker.signal('SIGSTOP')
    try {
      const listed = await bench.driver.list(AbortSignal.timeout(1000))
      expect(listed.ok).toBe(false)
      expect((await bench.driver.status(bench.signal)).usable).toBe(false)
      await until('unreachable is told', () => runtime().at(-1) === false)
      // Who asks now how it is does not wait for five seconds more.
      const askedMs = performance.now()
      expect((await bench.driver.status(bench.signal)).usable).toBe(false)
      expect(performance.now() - askedMs).toBeLessThan(4000)
      expect(before?.pid && process.kill(before.pid, 0)).toBe(true)
    } finally {
      docker.signal('SIGCONT')
    }
    await until('reachable is told', () => runtime().at(-1) === true)
    const after = await bench.seen(want)
    expect([after?.state, after?.pid, after?.startTime]).toEqual(['running', before?.pid, before?.startTime])
  })

  test('dying at any moment of a start: the next start of the incarnation ends with exactly one container, running', async () => {
    const { bench, runtime, until } = await open()
    for (const delayMs of [0, 15, 40, 90, 150]) {
      const want = bench.want({ kind: 'run' })
      const times = runtime().length
      const starting = bench.driver.start(want, bench.signal)
      await new Promise((resolve) => AbortSignal.timeout(delayMs).addEventListener('abort', resolve))
      docker.signal('SIGKILL')
      await starting
      await until('gone and back', () => runtime().length >= times + 2 && runtime().at(-1) === true)
      must(await bench.driver.start(want, bench.signal))
      const seen = must(await bench.driver.inspect(want.id, bench.signal))
      expect(seen.map((one) => [one.state, one.matches])).toEqual([['running', true]])
    }
  }, 120_000)

  test('a follower of logs learns that the daemon died, instead of taking it for the end', async () => {
    const { bench, runtime, until } = await open()
    const want = await bench.startReady()
    const following = bench.driver.logs(want, { follow: true, tailLines: null, sinceMs: null }, () => undefined, bench.signal)
    docker.signal('SIGKILL')
    const ended = await following
    expect(ended.ok ? 'ok' : ended.error.code).toBe('runtime_unreachable')
    await until('back', () => runtime().at(-1) === true && runtime().length > 1)
  })
})
