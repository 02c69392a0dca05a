import { readFileSync } from 'node:fs'
import { chmod, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { launch } from '../../tests/support/api-server.ts'
import { controlPlane, silentTelemetryLogger, startQuietly } from '../../tests/support/control-plane.ts'
import { connectAgent, observedOf } from '../../tests/support/fake-agent.ts'
import { describeNeeds } from '../../tests/support/needs.ts'
import { RecordingLog } from '../../tests/support/recording-log.ts'
import { must } from '../../tests/support/stores.ts'
import { tmpDir } from '../../tests/support/tmp.ts'
import { waitFor } from '../../tests/support/wait.ts'
import { HealthView } from '../contracts/views.ts'
import type { TelemetryLogger } from '../telemetry/logger.ts'
import { LIMITS } from './limits.ts'

const DEADLINE_MS = 20_000
const running = {
  kind: 'running' as const,
  reason: 'started' as const,
  sinceMs: Date.parse('2026-01-01T00:00:00Z'),
  attempt: 0,
  lastError: null,
}

describeNeeds('embedded-postgres', 'control plane on the embedded PostgreSQL', () => {
  describe('the ring', ring)
  describe('start and end', startAndEnd)
})

function ring() {
  test('an instance goes round: created, placed, pushed to the agent, observed, listed; stopped and deleted', async () => {
    const plane = await controlPlane()
    const agent = await connectAgent({ url: plane.url, token: plane.agentToken })
    await agent.waitForMessage('welcome')
    const made = must(await plane.operator.call('createInstance', { body: launch({ name: 'web', labels: { app: 'web' } }) }))
    expect(made).toMatchObject({ name: 'web', state: 'pending', desired: { state: 'running', generation: 1 } })
    const wish = await waitFor(() => agent.desired.get(made.id), { what: 'the wish at the agent', deadlineMs: DEADLINE_MS })
    agent.send({ type: 'observed', items: [observedOf(wish, running, 1)] })
    await agent.waitForMessage('ack', (ack) => ack.items.some((item) => item.id === made.id && item.seq === 1))
    const list = must(await plane.operator.call('listInstances', { query: { selector: 'app=web' } }))
    expect(list.items).toMatchObject([{ id: made.id, state: 'running', node_id: 'node-a', pid: 4242, health: { status: 'healthy' } }])
    expect(must(await plane.operator.call('whyInstance', { params: { id: 'web' } })).difference).toBeNull()
    must(await plane.operator.call('deleteInstance', { params: { id: 'web' } }))
    const deleting = await waitFor(() => agent.desired.get(made.id)?.want === 'deleted' && agent.desired.get(made.id), {
      what: 'the wish to delete',
      deadlineMs: DEADLINE_MS,
    })
    const deleted = { ...running, kind: 'deleted' as const, reason: 'requested' as const }
    agent.send({
      type: 'observed',
      items: [
        observedOf(deleting, deleted, 2, { transitions: [{ seq: 2, atMs: 1, from: 'running', to: deleted, incarnation: 1, exit: null }] }),
      ],
    })
    await waitFor(async () => must(await plane.operator.call('listInstances', {})).items.length === 0, {
      what: 'an empty list',
      deadlineMs: DEADLINE_MS,
    })
    await agent.close()
  })

  test('a deploy becomes instances, and a larger one than any node waits with the reason of each', async () => {
    const plane = await controlPlane()
    const agent = await connectAgent({ url: plane.url, token: plane.agentToken })
    await agent.waitForMessage('welcome')
    const manifest = {
      schema_version: 'v1',
      app: { name: 'shop' },
      processes: { web: { command: ['sleep', '60'], resources: { memory: '3Gi' }, scaling: { min: 2 } } },
    }
    must(await plane.operator.call('deploy', { body: { manifest } }))
    await waitFor(() => agent.desired.size === 1, { what: 'the replica that fits', deadlineMs: DEADLINE_MS })
    const [placed] = agent.desired.values()
    const waiting = placed?.name === 'shop-prod-web-0' ? 'shop-prod-web-1' : 'shop-prod-web-0'
    const why = await waitFor(
      async () => {
        const given = must(await plane.operator.call('whyInstance', { params: { id: waiting } }))
        return given.nodes.length > 0 && given
      },
      { what: 'the refusals', deadlineMs: DEADLINE_MS },
    )
    expect(why.nodes).toEqual([{ node_id: 'node-a', refused_by: 'memory', detail: expect.stringMatching(/^needs (3Gi|3072Mi);/) }])
    expect(why.summary).toMatch(/node node-a, cannot take it: needs (3Gi|3072Mi)/)
    const [env] = must(await plane.operator.call('listEnvs', {})).items
    expect(env).toMatchObject({ state: 'failing', processes: [{ wanted: 2 }] })
    await agent.close()
  })

  test('T39: the series of /metrics are as many after a thousand instances came and went', { timeout: 120_000 }, async () => {
    const plane = await controlPlane()
    const series = async () =>
      (await (await fetch(`${plane.url}/metrics`)).text()).split('\n').filter((line) => line !== '' && !line.startsWith('#')).length
    const cycle = async (count: number, prefix: string) => {
      let next = 0
      const worker = async () => {
        for (let index = next++; index < count; index = next++) {
          const { id } = must(await plane.operator.call('createInstance', { body: launch({ name: `${prefix}-${index}` }) }))
          must(await plane.operator.call('deleteInstance', { params: { id } }))
        }
      }
      await Promise.all(Array.from({ length: 16 }, worker))
    }
    await cycle(1, 'first')
    await series()
    const before = await series()
    await cycle(1000, 'many')
    expect(await series()).toBe(before)
  })
}

function startAndEnd() {
  test('waiting for a database that is away is given up at once', async () => {
    const giveUp = new AbortController()
    const log = new RecordingLog()
    const telemetryLog: TelemetryLogger = Object.assign(log, { child: () => telemetryLog })
    const starting = startQuietly({
      dataDir: await tmpDir(),
      databaseUrl: 'postgresql://nobody@127.0.0.1:1/none',
      log: telemetryLog,
      signal: giveUp.signal,
    })
    await waitFor(() => log.said().includes('warn waiting for the database'), { what: 'it waits', deadlineMs: DEADLINE_MS })
    const sinceMs = performance.now()
    giveUp.abort()
    expect(await starting).toMatchObject({ ok: false, error: { code: 'cancelled' } })
    expect(performance.now() - sinceMs).toBeLessThan(LIMITS.startStoreMs / 3)
  })

  test('tokens are files of their owner, kept over restarts; a lost one is made anew and the old secret is useless', async () => {
    const dataDir = await tmpDir()
    const first = await controlPlane({ dataDir })
    expect((await stat(first.operatorTokenFile)).mode & 0o777).toBe(0o600)
    expect((await stat(path.join(dataDir, 'agent.token'))).mode & 0o777).toBe(0o600)
    expect(first.operatorToken).not.toBe(first.agentToken)
    const { id } = must(await first.operator.call('createInstance', { body: launch({ name: 'kept' }) }))
    await chmod(first.operatorTokenFile, 0o644)
    await first.close()
    await first.close()
    await expect(fetch(first.url)).rejects.toThrow()
    const second = await controlPlane({ dataDir })
    expect(second.operatorToken).toBe(first.operatorToken)
    expect((await stat(second.operatorTokenFile)).mode & 0o777).toBe(0o600)
    expect(must(await second.operator.call('getInstance', { params: { id: 'kept' } })).id).toBe(id)
    await second.close()
    await unlink(second.operatorTokenFile)
    await writeFile(path.join(dataDir, 'agent.token'), '')
    const third = await controlPlane({ dataDir })
    expect(third.operatorToken).not.toBe(first.operatorToken)
    expect(third.agentToken).not.toBe(first.agentToken)
    expect((await third.operator.call('listInstances', {})).ok).toBe(true)
    expect(await third.as(first.operatorToken).call('listInstances', {})).toMatchObject({ ok: false, error: { code: 'unauthenticated' } })
    expect(await readdir(dataDir)).toEqual(expect.arrayContaining(['agent.token', 'operator.token', 'postgres']))
    expect((await readdir(dataDir)).filter((name) => name.startsWith('operator.token.') || name.startsWith('agent.token.'))).toEqual([])
  })

  test('an agent comes back by itself to a control plane that was restarted, and keeps its node', async () => {
    const dataDir = await tmpDir()
    const first = await controlPlane({ dataDir })
    const agent = await connectAgent({ url: first.url, token: first.agentToken })
    await agent.waitForMessage('welcome')
    await first.close()
    expect(agent.closed).toMatchObject({ code: 1001 })
    const second = await controlPlane({ dataDir })
    // Another process of the same node: nobody holds the old session any more, so it is not taken.
    const again = await connectAgent({ url: second.url, token: second.agentToken, bootId: 'boot-2' })
    await again.waitForMessage('welcome')
    expect(must(await second.operator.call('listNodes', {})).items).toMatchObject([{ id: 'node-a', connected: true }])
    await again.close()
  })

  test('a port in use is said so, and nothing is left running', async () => {
    const blocker = createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    const address = blocker.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const dataDir = await tmpDir()
    expect(await startQuietly({ dataDir, listen: { host: '127.0.0.1', port } })).toMatchObject({
      ok: false,
      error: { code: 'port_in_use', fields: { port } },
    })
    await new Promise((resolve) => blocker.close(resolve))
    // The same directory serves at once: its database was stopped.
    const control = must(await startQuietly({ dataDir, listen: { host: '127.0.0.1', port } }))
    expect(control.url).toBe(`http://127.0.0.1:${port}`)
    await control.close()
  })

  test('a data directory that cannot be one is named', async () => {
    const dir = await tmpDir()
    const file = path.join(dir, 'file')
    await writeFile(file, '')
    expect(await startQuietly({ dataDir: path.join(file, 'data') })).toMatchObject({
      ok: false,
      error: { code: 'data_dir_unusable', fields: { errno: 'ENOTDIR' } },
    })
  })

  test('C77: health names each subsystem and is healthy once an agent is there', async () => {
    const plane = await controlPlane({ checks: { agent: async () => ({ status: 'healthy', detail: 'in this process' }) } })
    const agent = await connectAgent({ url: plane.url, token: plane.agentToken })
    await agent.waitForMessage('welcome')
    const health = await waitFor(
      async () => {
        const given = must(await plane.operator.call('health', {}))
        return given.status === 'healthy' && given
      },
      { what: 'a healthy control plane', deadlineMs: DEADLINE_MS },
    )
    expect(Object.keys(health.checks).sort()).toEqual(['agent', 'agents', 'loops', 'postgres', 'store'])
    const pid = Number(/process (\d+)/.exec(health.checks.postgres?.detail ?? '')?.[1])
    expect(pid).toBeGreaterThan(1)
    const stopped = [pid, ...readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)].filter(
      (one) => one > 1,
    )
    for (const one of stopped) process.kill(one, 'SIGSTOP')
    try {
      const frozen = HealthView.parse(await (await fetch(`${plane.url}/health`)).json())
      expect(frozen).toMatchObject({ status: 'unhealthy', checks: { store: { status: 'unhealthy' }, postgres: { status: 'unhealthy' } } })
    } finally {
      for (const one of stopped) process.kill(one, 'SIGCONT')
    }
    await agent.close()
  })

  test('no secret is in the database, in the log or in an answer', async () => {
    const lines: string[] = []
    const log = { ...silentTelemetryLogger }
    for (const level of ['debug', 'info', 'warn', 'error'] as const)
      log[level] = (msg, fields) => void lines.push(JSON.stringify({ msg, ...fields }))
    log.child = () => log
    const plane = await controlPlane({ log })
    must(await plane.operator.call('createToken', { body: { name: 'ci', role: 'viewer' } }))
    await plane.operator.call('getInstance', { params: { id: 'nope' } })
    const audit = JSON.stringify([
      must(await plane.operator.call('listAudit', {})),
      must(await plane.operator.call('listTokens', {})),
      must(await plane.operator.call('listEvents', {})),
    ])
    const agentToken = (await readFile(path.join(plane.dataDir, 'agent.token'), 'utf8')).trim()
    for (const secret of [plane.operatorToken, agentToken]) {
      expect(lines.join('\n')).not.toContain(secret)
      expect(audit).not.toContain(secret)
    }
    expect(audit).not.toContain('hft_')
    expect(lines.length).toBeGreaterThan(0)
  })
}
