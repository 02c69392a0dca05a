// What can break around a running platform, seen by the person in front of it: each fault is named with its code and what to do,
// nothing that was acknowledged is lost, nothing that runs is restarted, and what waited goes on when the cause is gone.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { HealthView, InstanceView, NodeView } from '../../src/contracts/views.ts'
import { cli } from '../support/cli.ts'
import { fakeEngine } from '../support/fake-engine.ts'
import { describeNeeds } from '../support/needs.ts'
import { type Started, start, type Up, up } from '../support/platform.ts'
import { dockerSocket, engineCall, TEST_IMAGE } from '../support/probes.ts'
import { runId } from '../support/run.ts'
import { ownTmpDir, tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const DEADLINE_MS = 30_000
const Containers = z.array(z.object({ Labels: z.record(z.string(), z.string()) }))

const shown = async (platform: Pick<Up, 'json'>, name: string) => InstanceView.parse(await platform.json('show', name))

async function listen(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const { port } = server.address() as AddressInfo
  return { server, port }
}

/** A file system of a few megabytes, or one that takes no writes. */
async function disk(options: string): Promise<string> {
  const at = path.join(await tmpDir(), 'disk')
  mkdirSync(at)
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', at])
  onTestFinished(() => void execFileSync('umount', ['-l', at]))
  return at
}

describeNeeds(['embedded-postgres', 'perl'], 'a Docker Engine that does not answer', () => {
  test.each(['missing', 'refusing', 'hanging'] as const)(
    '%s: process instances run, docker ones wait with the reason, doctor has the remedy',
    async (how) => {
      const engine = await fakeEngine()
      if (how === 'hanging') engine.hang(true)
      else await engine.die(how === 'missing' ? 'removed' : 'left')
      const env = { HOLDFAST_DOCKER_SOCKET: engine.socketPath }
      const platform = await up(path.join(await tmpDir(), 'data'), [], { env })
      onTestFinished(async () => void (await platform.cli('down')))
      expect(await platform.cli('launch', '--name', 'native', '--memory', '16Mi', '--wait', '--', 'sleep', '600')).toMatchObject({
        code: 0,
      })
      const late = await platform.cli(
        'launch',
        '--name',
        'boxed',
        '--image',
        TEST_IMAGE,
        '--wait',
        '--wait-timeout',
        '2s',
        '--',
        'sleep',
        '9',
      )
      expect(late.code).toBe(7)
      expect(late.err).toContain('no_node')
      expect((await platform.cli('why', 'boxed')).out).toContain('docker')
      const [node] = NodeView.array().parse(await platform.json('nodes'))
      expect(node?.runtimes.find((each) => each.runtime === 'docker')).toMatchObject({ usable: false })
      const doctor = await cli(['doctor'], { env: { ...env, HOLDFAST_DATA_DIR: platform.data }, cwd: platform.data })
      expect(doctor.out).toMatch(/^runtime docker\s+(absent|broken|unreachable)/m)
      expect(doctor.out).toContain(engine.socketPath)
      expect((await shown(platform, 'native')).incarnation).toBe(1)
    },
  )
})

describeNeeds(['embedded-postgres', 'perl', 'docker'], 'what a runtime refuses', () => {
  let dir: AsyncDisposable & { readonly path: string }
  let platform: Up
  beforeAll(async () => {
    dir = await ownTmpDir()
    platform = await up(path.join(dir.path, 'data'), [], { env: { HOLDFAST_DOCKER_SOCKET: dockerSocket(process.env) } })
  })
  afterAll(async () => {
    // `down` leaves no container either: one that is left is found by the end of the run.
    await platform?.cli('down')
    await dir?.[Symbol.asyncDispose]()
  })
  const kinds = [
    ['process', []],
    ['docker', ['--image', TEST_IMAGE]],
  ] as const
  const launch = (name: string, flags: readonly string[], ...command: string[]) =>
    platform.cli('launch', '--name', name, '--memory', '16Mi', '--label', `test=${runId()}`, ...flags, '--', ...command)

  test.each(kinds)('%s: a command that does not exist is exit 8, said once and not tried again', async (runtime, flags) => {
    const { code, err } = await launch(`absent-${runtime}`, [...flags, '--wait'], '/no/such/command')
    expect(code).toBe(8)
    expect(err).toContain('command_not_found')
    expect(err).toContain('Correct the command')
    const after = await shown(platform, `absent-${runtime}`)
    expect(after).toMatchObject({ state: 'failed', reason: 'permanent_error', incarnation: 1, last_error: { code: 'command_not_found' } })
    expect((await platform.cli('why', `absent-${runtime}`)).out).toContain('/no/such/command')
  })

  test.each(kinds)('%s: a port that is taken is named; it comes up when the port is free', async (runtime, flags) => {
    const { server, port } = await listen()
    onTestFinished(() => void server.close())
    const name = `port-${runtime}`
    const { code, err } = await launch(name, [...flags, '--port', `${port}:${port}`, '--wait', '--wait-timeout', '3s'], 'sleep', '600')
    expect(code).toBe(7)
    expect(err).toContain(`port_in_use: Port ${port}`)
    expect((await shown(platform, name)).last_error).toMatchObject({ code: 'port_in_use', retry: 'later' })
    await new Promise((resolve) => server.close(resolve))
    expect(await platform.cli('recover', name, '--wait')).toMatchObject({ code: 0 })
    expect((await shown(platform, name)).addresses).toMatchObject([{ internal: port, port }])
  })

  test('docker: a chosen port is the same after a kill; when a stranger has it by then, it is exchanged, and an event says so', {
    timeout: 60_000,
  }, async () => {
    const port = async (name: string) => (await shown(platform, name)).addresses[0]?.port ?? 0
    const killed = async () => {
      const { id, incarnation } = await shown(platform, 'kept')
      const killing = await engineCall(dockerSocket(process.env), 'POST', `/containers/holdfast-${id}-${incarnation}/kill`)
      expect(killing.status).toBe(204)
      return waitFor(
        async () => {
          const now = await shown(platform, 'kept')
          return now.state === 'running' && now.incarnation > incarnation ? now : undefined
        },
        { what: 'the next incarnation runs', deadlineMs: DEADLINE_MS },
      )
    }
    expect(await launch('kept', ['--image', TEST_IMAGE, '--port', '80', '--wait'], 'sleep', '600')).toMatchObject({ code: 0 })
    const before = await port('kept')
    expect(before).toBeGreaterThan(0)
    expect((await killed()).addresses).toMatchObject([{ port: before }])
    expect(await platform.cli('stop', 'kept', '--wait')).toMatchObject({ code: 0 })
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(before, '0.0.0.0', resolve))
    onTestFinished(() => void server.close())
    expect(await platform.cli('start', 'kept', '--wait')).toMatchObject({ code: 0 })
    expect(await port('kept')).not.toBe(before)
    expect(JSON.stringify(await platform.json('events', '--instance', 'kept'))).toContain(`Port ${before} was taken by somebody else`)
  })

  test('an image that cannot be had is named with the registry that was asked, and is tried again', async () => {
    const { code, err } = await launch('image', ['--image', 'localhost:1/nothing:1', '--wait', '--wait-timeout', '3s'], 'true')
    expect(code).toBe(7)
    expect(err).toContain('image_pull_failed')
    expect(err).toContain('localhost:1')
    const why = await platform.cli('why', 'image')
    expect(why.out).toMatch(/tries again|holdfast recover image/)
  })

  test('labels of the instance and marks of the platform are on the container', async () => {
    expect(await launch('marked', ['--image', TEST_IMAGE, '--label', 'app=web', '--wait'], 'sleep', '600')).toMatchObject({ code: 0 })
    const { id, node_id, incarnation } = await shown(platform, 'marked')
    const filters = encodeURIComponent(JSON.stringify({ label: [`holdfast.io/instance=${id}`] }))
    const found = Containers.parse(
      JSON.parse((await engineCall(dockerSocket(process.env), 'GET', `/containers/json?filters=${filters}`)).body),
    )
    expect(found).toMatchObject([
      {
        Labels: {
          'holdfast.io/label/app': 'web',
          'holdfast.io/label/test': runId(),
          'holdfast.io/node': node_id,
          'holdfast.io/incarnation': String(incarnation),
        },
      },
    ])
  })
})

describeNeeds(['embedded-postgres', 'perl'], 'a chosen port', () => {
  test('that a stranger takes between two runs is exchanged: the address is new, and an event says so', async () => {
    const dir = await tmpDir()
    const platform = await up(path.join(dir, 'data'))
    onTestFinished(async () => void (await platform.cli('down')))
    const [log, go] = [path.join(dir, 'port'), path.join(dir, 'go')]
    const script = `echo $PORT > ${log}; test -e ${go} && exec sleep 600; exit 1`
    expect(await platform.cli('launch', '--name', 'moving', '--memory', '16Mi', '--port', '0', '--', 'sh', '-c', script)).toMatchObject({
      code: 0,
    })
    expect(await platform.cli('wait', 'moving', 'crash_looping')).toMatchObject({ code: 0 })
    const before = Number(readFileSync(log, 'utf8'))
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(before, '0.0.0.0', resolve))
    onTestFinished(() => void server.close())
    writeFileSync(go, '')
    expect(await platform.cli('recover', 'moving', '--wait')).toMatchObject({ code: 0 })
    const after = Number(readFileSync(log, 'utf8'))
    expect(after).not.toBe(before)
    expect((await shown(platform, 'moving')).addresses).toMatchObject([{ port: after }])
    expect(JSON.stringify(await platform.json('events', '--instance', 'moving'))).toContain(`Port ${before} was taken by somebody else`)
  })
})

describeNeeds(['embedded-postgres', 'perl'], 'a database that is killed', () => {
  test('under load: what was acknowledged is there, refusals are exit 6, and no workload notices', { timeout: 90_000 }, async () => {
    const platform = await up(path.join(await tmpDir(), 'data'))
    onTestFinished(async () => void (await platform.cli('down')))
    expect(await platform.cli('launch', '--name', 'steady', '--memory', '16Mi', '--wait', '--', 'sleep', '600')).toMatchObject({ code: 0 })
    const before = await shown(platform, 'steady')
    // What is launched from here on is written down and waits: the load is on the database, not on the machine.
    expect(await platform.cli('nodes', 'cordon', before.node_id ?? '')).toMatchObject({ code: 0 })
    const database = async () => {
      const answer = await fetch(`${platform.url}/health`).catch((error: unknown) => {
        throw new Error(platform.said(), { cause: error })
      })
      const health = HealthView.parse(await answer.json())
      return Number(/process (\d+)/.exec(health.checks.postgres?.detail ?? '')?.[1] ?? 0)
    }
    const acknowledged: string[] = []
    const exits = new Set<number>()
    let going = true
    const writers = ['a', 'b', 'c'].map(async (writer) => {
      for (let n = 0; going; n += 1) {
        const name = `${writer}-${n}`
        const { code } = await platform.cli('launch', '--name', name, '--memory', '16Mi', '--', 'sleep', '600')
        if (code === 0) acknowledged.push(name)
        else exits.add(code)
      }
    })
    // However this ends: writers that nobody stops would go on under every test after this one.
    onTestFinished(() => {
      going = false
    })
    for (let round = 0; round < 2; round += 1) {
      const written = acknowledged.length
      await waitFor(() => acknowledged.length >= written + 15, { what: 'acknowledged launches', deadlineMs: DEADLINE_MS })
      const pid = await waitFor(database, { what: 'the pid of the database', deadlineMs: DEADLINE_MS })
      process.kill(pid, 'SIGKILL')
      await waitFor(async () => ![0, pid].includes(await database()), { what: 'another database process', deadlineMs: DEADLINE_MS })
    }
    going = false
    await Promise.all(writers)
    // A launch whose answer was cut off may have been stored; sending it again says so.
    expect([...exits].filter((code) => code !== 6)).toEqual([])
    const there = new Set(
      InstanceView.array()
        .parse(await platform.json('list', '--limit', '100000'))
        .map((each) => each.name),
    )
    expect(acknowledged.filter((name) => !there.has(name))).toEqual([])
    expect(await shown(platform, 'steady')).toMatchObject({ pid: before.pid, incarnation: 1, state: 'running' })
  })
})

describeNeeds(['embedded-postgres', 'perl', 'root'], 'a disk', () => {
  test('that takes no writes stops up with its path and the reason', async () => {
    const data = path.join(await disk('ro'), 'data')
    const started = start(['up', '--data-dir', data, '--listen', '127.0.0.1:0'])
    expect(await started.ended).toBe(2)
    expect(started.err()).toContain(data)
    expect(started.err()).toMatch(/read-only/i)
    expect(started.out()).toBe('')
  })

  test('of a whole platform that is full is named by why, list, status, nodes, doctor and the metrics, and all goes on when there is room', {
    timeout: 120_000,
  }, async () => {
    const small = await disk('size=120m')
    const platform = await up(path.join(small, 'data'), [], { env: { HOLDFAST_NODE_PRESSURE_DISK: '1' } })
    onTestFinished(async () => void (await platform.cli('down')))
    const launch = (name: string, ...more: string[]) =>
      platform.cli('launch', '--name', name, '--memory', '16Mi', ...more, '--', 'sleep', '600')
    expect(await launch('one', '--wait')).toMatchObject({ code: 0 })
    const ballast = path.join(small, 'ballast')
    expect(() => writeFileSync(ballast, Buffer.alloc(128 * 2 ** 20))).toThrow(/ENOSPC/)
    expect(await launch('two')).toMatchObject({ code: 0 })
    const { pid } = await shown(platform, 'one')
    expect(pid).toBeGreaterThan(1)
    process.kill(pid ?? process.pid, 'SIGKILL')
    const why = async (name: string) => (await platform.cli('why', name)).out
    for (const name of ['one', 'two']) {
      const blocked = new RegExp(`^The disk of its node takes no records: disk_full, ${small}/`)
      await waitFor(async () => blocked.test(await why(name)), { what: `why ${name} names the disk`, deadlineMs: DEADLINE_MS })
      expect((await platform.cli('list')).out).toMatch(new RegExp(`^${name} .*\\(disk full\\)`, 'm'))
    }
    const waits = '2 instances wait: disk full'
    const health = async () => HealthView.parse(await (await fetch(`${platform.url}/health`)).json())
    await waitFor(async () => (await health()).checks.agents?.detail.includes(waits), { what: 'health says so', deadlineMs: DEADLINE_MS })
    expect(await health()).toMatchObject({ status: 'degraded', checks: { agent: { status: 'degraded' } } })
    for (const verb of [['status'], ['doctor'], ['nodes', 'show', (await shown(platform, 'two')).node_id ?? '']])
      expect((await platform.cli(...verb)).out).toContain(waits)
    expect((await platform.cli('nodes')).out).toContain('2 wait: disk full')
    expect(await (await fetch(`${platform.url}/metrics`)).text()).toMatch(/^holdfast_errors_total\{code="disk_full"\} [1-9]/m)
    rmSync(ballast)
    for (const name of ['one', 'two'])
      await waitFor(
        async () => {
          const { state, blocked, pid: now } = await shown(platform, name)
          return state === 'running' && blocked === null && now !== pid
        },
        { what: `${name} runs again`, deadlineMs: DEADLINE_MS },
      )
    await waitFor(async () => (await health()).status === 'healthy', { what: 'health is healthy', deadlineMs: DEADLINE_MS })
  })

  describe('of a node that is full', () => {
    const running: Started[] = []
    afterAll(async () => {
      for (const each of running) each.child.kill('SIGKILL')
      await Promise.all(running.map((each) => each.ended))
    })
    const ready = async (args: readonly string[], line: RegExp) => {
      const started = start(args)
      running.push(started)
      return waitFor(() => line.exec(started.out()), { what: `${args[0]} is ready`, deadlineMs: DEADLINE_MS })
    }

    test('starts nothing and says disk_full, restarts nothing, and goes on when there is room', { timeout: 90_000 }, async () => {
      const data = path.join(await tmpDir(), 'server')
      const small = await disk('size=24m')
      const [, url = ''] = await ready(['server', '--data-dir', data, '--listen', '127.0.0.1:0'], /^holdfast ready url=(\S+)/m)
      const where = ['--control', url, '--token-file', path.join(data, 'agent.token'), '--state-dir', path.join(small, 'state')]
      await ready(['agent', ...where, '--listen', '127.0.0.1:0'], /^holdfast agent ready/m)
      const env = { HOLDFAST_DATA_DIR: data }
      const holdfast = (...args: string[]) => cli(args, { env, cwd: '/' })
      const show = async (name: string) => InstanceView.parse(JSON.parse((await holdfast('show', name, '--json')).out))
      onTestFinished(async () => {
        for (const name of ['first', 'second']) await holdfast('delete', name, '--wait')
      })
      const launched = await holdfast('launch', '--name', 'first', '--memory', '16Mi', '--wait', '--', 'sleep', '600')
      expect(launched).toMatchObject({ code: 0 })
      const before = await waitFor(async () => ((await show('first')).reason === 'verified' ? show('first') : undefined), {
        what: 'the first is verified',
        deadlineMs: DEADLINE_MS,
      })
      const ballast = path.join(small, 'ballast')
      expect(() => writeFileSync(ballast, Buffer.alloc(64 * 2 ** 20))).toThrow(/ENOSPC/)
      const late = await holdfast('launch', '--name', 'second', '--memory', '16Mi', '--wait', '--wait-timeout', '4s', '--', 'sleep', '600')
      expect(late.code).toBe(7)
      const trouble = await show('second')
      expect(JSON.stringify([trouble.last_error, trouble.notes])).toContain('disk_full')
      expect(await show('first')).toMatchObject({ pid: before.pid, incarnation: 1, state: 'running' })
      rmSync(ballast)
      expect(await holdfast('wait', 'second', 'running', '--wait-timeout', '60s')).toMatchObject({ code: 0 })
      expect(await show('first')).toMatchObject({ pid: before.pid, incarnation: 1, state: 'running' })
    })
  })
})
