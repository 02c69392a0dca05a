import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type DockerHarness, dockerHarness, type HarnessOptions } from '../../../../tests/support/docker-harness.ts'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import { systemRandom } from '../../../base/system.ts'
import type { InstanceSpec } from '../../../contracts/spec.ts'
import { Bench, must, type Program } from '../conformance-kit.ts'
import type { Wanted } from '../driver.ts'

async function open(options: HarnessOptions = {}): Promise<{ bench: Bench; harness: DockerHarness }> {
  const harness = await dockerHarness(options)
  onTestFinished(() => harness.dispose())
  return { bench: new Bench(harness), harness }
}
const RUN: Program = { kind: 'run' }
const sh = (script: string): Partial<InstanceSpec> => ({ command: ['/bin/sh', '-c', script] })
const codeOf = (result: { ok: boolean; error?: { code: string } }) => (result.ok ? 'ok' : result.error?.code)

async function listener(): Promise<number> {
  const server: Server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  onTestFinished(() => void server.close())
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address ? address.port : 0
}

/** Tries to start and tells the code; nothing may be left of it. */
async function refused(change: Partial<InstanceSpec>, program: Program = RUN): Promise<string | undefined> {
  const { bench, harness } = await open()
  const want = { ...bench.want(program, change), hostPorts: (change.ports ?? []).map((port) => port.host) }
  const result = await bench.driver.start(want, bench.signal)
  expect(await harness.leftovers()).toEqual([])
  return codeOf(result)
}

describeNeeds('docker', 'docker driver: starts that fail are typed and leave nothing', () => {
  test('image absent', async () => {
    const { bench } = await open()
    const want = bench.want(RUN, { image: 'holdfast-test/absent:9' })
    expect(codeOf(await bench.driver.start(want, bench.signal))).toBe('image_not_found')
  })
  test.each([
    ['a path that does not exist', ['/no/such'], 'command_not_found'],
    ['a name that is nowhere in PATH', ['no-such-name'], 'command_not_found'],
    ['a file that is not executable', ['/etc/passwd'], 'command_not_found'],
    ['a directory', ['/etc'], 'command_not_found'],
  ])('command: %s', async (_, command, code) => {
    expect(await refused({ command })).toBe(code)
  })
  test('user not in the image', async () => {
    const security = { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [], readOnlyRoot: false, user: 'nosuch' }
    expect(await refused({ security })).toBe('invalid_command')
  })
  test('an unknown capability', async () => {
    const security = { privileged: false, capabilitiesAdd: ['NO_SUCH'], capabilitiesDrop: [], readOnlyRoot: false, user: null }
    expect(await refused({ security })).toBe('invalid_command')
  })
  test('source of a mount missing', async () => {
    expect(await refused({ mounts: [{ source: '/no/such/source', target: '/x', readOnly: false }] })).toBe('mount_not_found')
  })
  test.each([[['no-such-net']], [['bridge', 'no-such-net']]])('C63: network missing: %j', async (networks) => {
    expect(await refused({ networks })).toBe('network_not_found')
  })
  test('C64: host port taken, and nothing matched in a sentence: the port is looked at', async () => {
    const port = await listener()
    expect(await refused({ ports: [{ name: 'web', internal: 80, host: port, protocol: 'tcp' }] })).toBe('port_in_use')
  })
})

describeNeeds('docker', 'docker driver: what runs is what was asked', () => {
  test('port 0 is chosen and reported, bound to this node only; a fixed one is open', async () => {
    const { bench, harness } = await open()
    const free = await freePort()
    const ports = [
      { name: 'web', internal: 80, host: 0, protocol: 'tcp' as const },
      { name: 'fix', internal: 81, host: free, protocol: 'tcp' as const },
    ]
    const want = { ...bench.want(RUN, { ports }), hostPorts: [0, free] }
    const seen = await bench.start(want)
    expect(seen.addresses.map((address) => [address.name, address.internal])).toEqual([
      ['web', 80],
      ['fix', 81],
    ])
    expect(seen.addresses[0]?.port).toBeGreaterThan(1023)
    expect(seen.addresses[1]?.port).toBe(free)
    const [one] = JSON.parse((await harness.call('GET', `/containers/holdfast-${want.id}-1/json`)).body).NetworkSettings.Ports['80/tcp']
    expect(one.HostIp).toBe('127.0.0.1')
  })

  test('cap, read-only root, user, capabilities, mounts, working directory arrive', async () => {
    const { bench, harness } = await open()
    const source = await mkdtemp(join(harness.stateDir, 'm'))
    const script =
      'id -u; pwd; touch /x && echo writable || echo readonly; touch /m/x && echo writable || echo readonly; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; grep CapEff /proc/self/status'
    const want = bench.want(RUN, {
      ...sh(script),
      workingDir: '/var/tmp',
      memoryBytes: 48 * 2 ** 20,
      security: { privileged: false, capabilitiesAdd: [], capabilitiesDrop: ['ALL'], readOnlyRoot: true, user: 'app' },
      mounts: [{ source, target: '/m', readOnly: true }],
    })
    await bench.start(want)
    await bench.dead(want)
    expect((await bench.output(want)).trim().split('\n')).toEqual([
      '1000',
      '/var/tmp',
      'readonly',
      'readonly',
      String(48 * 2 ** 20),
      'CapEff:\t0000000000000000',
    ])
    await rm(source, { recursive: true })
  })

  test('labels of the user are on the container, beside ours', async () => {
    const { bench, harness } = await open()
    const want = { ...bench.want(RUN), labels: { app: 'web', 'team/x': 'Y' } }
    await bench.start(want)
    const filters = encodeURIComponent(
      JSON.stringify({ label: ['holdfast.io/label/app=web', 'holdfast.io/label/team/x=Y', `holdfast.io/instance=${want.id}`] }),
    )
    expect(JSON.parse((await harness.call('GET', `/containers/json?filters=${filters}`)).body)).toHaveLength(1)
  })

  test('by digest: the id of an image is a reference too', async () => {
    const { bench, harness } = await open()
    const { Id } = JSON.parse((await harness.call('GET', '/images/holdfast-test/busybox:1/json')).body)
    const want = bench.want(RUN, { image: Id })
    expect((await bench.start(want)).state).toBe('running')
  })
})

describeNeeds('docker', 'docker driver: memory limit', () => {
  const hungry = (script: string) => ({ ...sh(script), memoryBytes: 16 * 2 ** 20 })

  test('the main process killed for memory is an exit by memory limit, told by an event', async () => {
    const { bench } = await open()
    await bench.watch()
    const want = bench.want(RUN, { command: ['tail', '/dev/zero'], memoryBytes: 16 * 2 ** 20 })
    await bench.start(want)
    const { exit } = await bench.dead(want)
    expect(exit).toMatchObject({ signal: 'SIGKILL', oom: true })
    await waitFor(() => bench.events.some((event) => event.kind === 'instance' && event.what === 'oom'), {
      what: 'the oom event',
      deadlineMs: 10_000,
    })
  })

  test('a child killed for memory while its parent lives is a note, and no exit', async () => {
    const { bench } = await open()
    await bench.watch()
    const want = bench.want(RUN, hungry('tail /dev/zero; sleep 600'))
    await bench.start(want)
    const seen = await waitFor(
      async () => {
        const now = await bench.seen(want)
        return now && now.notes.length > 0 && now
      },
      { what: 'the note', deadlineMs: 20_000 },
    )
    expect([seen.state, seen.exit]).toEqual(['running', null])
    expect(seen.notes[0]).toContain('memory limit')
  })

  test('an agent that was away learns it from the engine alone', async () => {
    const { bench, harness } = await open()
    const want = bench.want(RUN, { command: ['tail', '/dev/zero'], memoryBytes: 16 * 2 ** 20 })
    await bench.start(want)
    bench.driver = await harness.reopen()
    expect((await bench.dead(want)).exit?.oom).toBe(true)
  })
})

describeNeeds('docker', 'docker driver: ownership', () => {
  test('another data directory on this machine, same node name: its containers are not seen', async () => {
    const { bench, harness } = await open()
    const other = await open({ nodeId: harness.nodeId })
    await bench.start(bench.want(RUN))
    expect(must(await other.bench.driver.list(bench.signal)).seen).toEqual([])
  })

  test('a container made from an image of ours carries our labels; it is seen as not matching and never touched', async () => {
    const { bench, harness } = await open()
    const want = await bench.startReady()
    const tag = `holdfast-test/copy-${systemRandom.text(8)}`
    await harness.call('POST', `/commit?container=holdfast-${want.id}-1&repo=${tag}`, {})
    const { Id } = JSON.parse((await harness.call('POST', '/containers/create', { Image: tag, Cmd: ['sleep', '600'] })).body)
    onTestFinished(async () => {
      await harness.call('DELETE', `/containers/${Id}?force=1`)
      await harness.call('DELETE', `/images/${tag}`)
    })
    await harness.call('POST', `/containers/${Id}/start`)
    const seen = must(await bench.driver.inspect(want.id, bench.signal))
    expect(seen.map((one) => [one.state, one.matches])).toEqual([
      ['running', true],
      ['running', false],
    ])
    await bench.stop(want, 100)
    must(await bench.driver.remove(want, bench.signal))
    expect(must(await bench.driver.inspect(want.id, bench.signal)).map((one) => [one.state, one.matches])).toEqual([['running', false]])
  })

  test('renamed by hand it is still ours, and can still be stopped', async () => {
    const { bench, harness } = await open()
    const want = await bench.startReady()
    await harness.call('POST', `/containers/holdfast-${want.id}-1/rename?name=renamed-${systemRandom.text(8)}`)
    expect((await bench.seen(want))?.matches).toBe(true)
    expect(await bench.stop(want, 2000)).toMatchObject({ oom: false })
    expect((await bench.seen(want))?.state).toBe('dead')
  })

  test('restarted by hand: still ours, with its new pid and start, and a note that says so', async () => {
    const { bench, harness } = await open()
    const want = await bench.startReady()
    const before = await bench.seen(want)
    await harness.call('POST', `/containers/holdfast-${want.id}-1/restart?t=0`)
    const after = await bench.seen(want)
    expect([after?.state, after?.matches]).toEqual(['running', true])
    expect([after?.pid === before?.pid, after?.startTime === before?.startTime]).toEqual([false, false])
    expect(after?.notes.join()).toContain('restarted by somebody else')
  })

  test('made but never started (the agent died in between): the next start begins anew and leaves one', async () => {
    const { bench, harness } = await open()
    const want = bench.want(RUN)
    const first = await bench.start(want)
    // What a crash leaves: the container of this incarnation, never started. Made by hand from the labels of the real one.
    const { Config } = JSON.parse((await harness.call('GET', `/containers/holdfast-${want.id}-1/json`)).body)
    await harness.call('DELETE', `/containers/holdfast-${want.id}-1?force=1`)
    await harness.call('POST', `/containers/create?name=holdfast-${want.id}-1`, {
      Image: Config.Image,
      Cmd: Config.Cmd,
      Labels: Config.Labels,
    })
    expect((await bench.seen(want))?.state).toBe('created')
    const again = await bench.start(want)
    expect([again.state, again.pid === first.pid]).toEqual(['running', false])
    expect(must(await bench.driver.inspect(want.id, bench.signal))).toHaveLength(1)
  })
})

describeNeeds('docker', 'docker driver: evidence', () => {
  test('output outlives the container, and is forgotten only with the instance', async () => {
    const { bench } = await open()
    const want = bench.want(RUN, sh('echo out; echo err >&2'))
    await bench.start(want)
    await bench.dead(want)
    must(await bench.driver.remove(want, bench.signal))
    const logs = await bench.logs({ ...want, nonce: '' })
    expect([logs.stdout.toString(), logs.stderr.toString()]).toEqual(['out\n', 'err\n'])
    must(await bench.driver.forget(want.id))
    const gone = await bench.driver.logs(want, { follow: false, tailLines: null, sinceMs: null }, () => undefined, bench.signal)
    expect(codeOf(gone)).toBe('not_found')
  })

  test('a crash loop keeps the last three ended containers and the output of those before', async () => {
    const { bench, harness } = await open()
    const first = bench.want({ kind: 'exit', code: 1 })
    let last: Wanted = first
    for (let incarnation = 1; incarnation <= 6; incarnation += 1) {
      last = bench.want(RUN, sh(`echo run ${incarnation}; exit 1`), { id: first.id, incarnation })
      await bench.start(last)
      await bench.dead(last)
    }
    await waitFor(async () => (await harness.leftovers()).length === 4, { what: 'the oldest are removed', deadlineMs: 15_000 })
    expect((await bench.logs({ ...last, incarnation: 1, nonce: '' })).stdout.toString()).toBe('run 1\n')
    expect((await bench.logs({ ...last, incarnation: 4, nonce: '' })).stdout.toString()).toBe('run 4\n')
  })

  test('every byte of whole lines is kept, both streams apart, lines beyond the engine`s 16 KiB too', async () => {
    const { bench } = await open()
    const bytes = Buffer.from([...Array.from({ length: 256 }, (_, index) => index), 10])
    const octal = [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
    const long = `head -c 40000 /dev/zero | tr '\\0' x; echo`
    const want = bench.want(RUN, sh(`printf '${octal}'; ${long}; echo after; echo err >&2`))
    await bench.start(want)
    await bench.dead(want)
    const { stdout, stderr } = await bench.logs(want)
    expect(stdout.equals(Buffer.concat([bytes, Buffer.from(`${'x'.repeat(40_000)}\nafter\n`)]))).toBe(true)
    expect(stderr.toString()).toBe('err\n')
  })

  test('since gives what came after, with the engine`s times', async () => {
    const { bench } = await open()
    const want = bench.want(RUN, sh('echo one; sleep 0.3; echo two'))
    await bench.start(want)
    await bench.dead(want)
    const times: (number | null)[] = []
    must(
      await bench.driver.logs(
        want,
        { follow: false, tailLines: null, sinceMs: null },
        (chunk) => void times.push(chunk.atMs),
        bench.signal,
      ),
    )
    expect(times).toHaveLength(2)
    const sinceMs = (times[0] ?? 0) + 100
    expect((await bench.logs(want, { sinceMs })).stdout.toString()).toBe('two\n')
  })
})

describeNeeds('docker', 'docker driver: exec', () => {
  test('as another user, with exit code and both streams', async () => {
    const { bench } = await open()
    const want = await bench.startReady()
    const run = await bench.exec(want, RUN, { command: ['/bin/sh', '-c', 'id -un; echo err >&2; exit 5'], user: 'app' })
    expect([run.result, run.stdout.toString(), run.stderr.toString()]).toEqual([{ ok: true, value: 5 }, 'app\n', 'err\n'])
  })

  test('a command that leaves a child holding its output ends with the command', async () => {
    const { bench } = await open()
    const want = await bench.startReady()
    const begunMs = performance.now()
    const run = await bench.exec(want, RUN, { command: ['/bin/sh', '-c', 'sleep 60 & echo done'], timeoutMs: 30_000 })
    expect([run.result, run.stdout.toString()]).toEqual([{ ok: true, value: 0 }, 'done\n'])
    expect(performance.now() - begunMs).toBeLessThan(10_000)
  })

  test.each(['timeout', 'abort'])('at its %s the whole command is gone from the container, and nothing else is', async (how) => {
    const { bench } = await open()
    const want = await bench.startReady()
    const stop = how === 'abort' ? AbortSignal.timeout(500) : bench.signal
    const options = {
      command: ['/bin/sh', '-c', 'sleep 777 & sleep 777'],
      stdin: null,
      timeoutMs: how === 'abort' ? 30_000 : 500,
      user: null,
    }
    const result = await bench.driver.exec(want, options, () => undefined, stop)
    expect(codeOf(result)).toBe(how === 'abort' ? 'cancelled' : 'exec_failed')
    const left = await bench.exec(want, RUN, { command: ['/bin/sh', '-c', 'ps | grep -c "[s]leep 777"'] })
    expect(left.stdout.toString()).toBe('0\n')
    must(await bench.driver.probe(want, bench.signal))
  })
})
