import { describe, expect, test } from 'vitest'
import { type ApiServer, apiServer } from '../../../tests/support/api-server.ts'
import { connectAgent, observedOf } from '../../../tests/support/fake-agent.ts'
import { agentOf, placed, welcomed } from '../../../tests/support/linked.ts'
import { describeEmbeddedStore, must, type StoreBench } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Phase } from '../../contracts/phase.ts'
import { listTransitions } from '../store/instances.ts'

const DEADLINE_MS = 10_000
const running: Phase = { kind: 'running', reason: 'started', sinceMs: 1_800_000_000_000, attempt: 0, lastError: null }
const stopped: Phase = { kind: 'stopped', reason: 'requested', sinceMs: 1_800_000_001_000, attempt: 0, lastError: null, exit: null }

describeEmbeddedStore('agent link', (bench) => {
  describe('sessions', () => sessions(bench))
  describe('wishes and observations', () => wishes(bench))
})

const nodes = async (server: ApiServer) => must(await server.as('viewer').call('listNodes', {})).items
const isOffline = (server: ApiServer) =>
  waitFor(async () => (await nodes(server))[0]?.state === 'offline', { what: 'the node offline', deadlineMs: DEADLINE_MS })

const show = async (server: ApiServer, id: InstanceId) => must(await server.as('viewer').call('getInstance', { params: { id } }))

function sessions(bench: StoreBench) {
  test('an agent registers its node, and its end takes the node offline', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    expect(await nodes(server)).toMatchObject([{ id: 'node-a', state: 'ready', connected: true, hostname: 'test' }])
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain('holdfast_agents_connected 1')
    await agent.close()
    await isOffline(server)
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain('holdfast_agents_connected 0')
    const types = must(await server.as('viewer').call('listEvents', {})).items.map((event) => event.type)
    expect(types.filter((type) => type.startsWith('node.'))).toEqual(['node.connected', 'node.disconnected'])
  })

  test('no token, a wrong one, or an operator token opens no link', async () => {
    const server = await apiServer(bench)
    for (const token of ['', 'wrong-token-here'])
      await expect(connectAgent({ url: server.url, token })).rejects.toThrow(/^401 .*unauthenticated/)
    await expect(connectAgent({ url: server.url, token: server.tokens.operator })).rejects.toThrow(/^403 .*forbidden/)
    expect(await nodes(server)).toEqual([])
  })

  test('a second live agent with the same node id is refused by name; the first one goes on', async () => {
    const server = await apiServer(bench)
    const first = await welcomed(server, { bootId: 'boot-1' })
    const second = await agentOf(server, { bootId: 'boot-2' })
    const refused = await second.waitForMessage('refused')
    expect(refused.error).toMatchObject({ code: 'node_id_taken', detail: expect.stringContaining('node-a') })
    await waitFor(() => second.closed?.code === 1008, { what: 'the end of the second connection', deadlineMs: DEADLINE_MS })
    expect(first.closed).toBeNull()
    expect(await nodes(server)).toMatchObject([{ connected: true }])
    await first.close()
  })

  test('the same agent that comes again before its old connection was found dead takes its place', async () => {
    const server = await apiServer(bench)
    const first = await welcomed(server)
    first.freeze()
    const second = await welcomed(server)
    const wish = await placed(server, second, 'web')
    second.send({ type: 'observed', items: [observedOf(wish, running, 1)] })
    await second.waitForMessage('ack')
    expect((await nodes(server))[0]).toMatchObject({ connected: true, state: 'ready' })
    await second.close()
    await first.close()
  })

  test('an agent that says nothing is given up: no hello, or silence later', async () => {
    const server = await apiServer(bench, { limits: { linkHelloMs: 200, linkPingMs: 50, linkSilenceMs: 300 } })
    const mute = await agentOf(server, { hello: false })
    await mute.waitForMessage('refused', (message) => message.error.code === 'wait_timeout')
    const frozen = await welcomed(server)
    frozen.freeze()
    await isOffline(server)
    await frozen.close()
  })

  test.each([
    ['not JSON', '{'],
    ['of an unknown type', '{"type":"nonsense"}'],
    ['a known one with wrong fields', '{"type":"heartbeat","usage":{},"facts":null}'],
  ])('a message that is %s ends the session with the reason, and no other', async (_name, text) => {
    const server = await apiServer(bench)
    const [good, bad] = [await welcomed(server, { nodeId: 'node-b' }), await welcomed(server)]
    bad.sendRaw(text)
    await bad.waitForMessage('refused', (message) => message.error.code === 'invalid_input')
    await waitFor(() => bad.closed, { what: 'the end of the connection', deadlineMs: DEADLINE_MS })
    expect(good.closed).toBeNull()
    await good.close()
  })

  test('an agent of another protocol version is told so', async () => {
    const server = await apiServer(bench)
    const agent = await agentOf(server, { hello: false })
    agent.sendRaw(JSON.stringify({ type: 'hello', protocol: 99, nodeId: 'node-a', bootId: 'b', added: 'later' }))
    await agent.waitForMessage('refused', (message) => message.error.code === 'unsupported' && message.error.detail.includes('protocol 99'))
    await agent.close()
  })

  test('a session ends when its token is revoked', async () => {
    const server = await apiServer(bench, { limits: { recheckCallerMs: 30, tokenCacheMs: 0 } })
    const agent = await welcomed(server)
    must(await server.as('operator').call('deleteToken', { params: { id: 'agent' } }))
    await waitFor(() => agent.closed, { what: 'the end of the session', deadlineMs: DEADLINE_MS })
    await expect(agentOf(server)).rejects.toThrow(/^401/)
  })

  test('heartbeats keep the node and bring its usage', async () => {
    const server = await apiServer(bench, { limits: { linkHeartbeatWriteMs: 20 } })
    const agent = await welcomed(server)
    agent.send({
      type: 'heartbeat',
      usage: { atMs: 1, cpuRatio: 0.5, memoryRatio: 0.25, diskRatio: 0.75, reservedMemoryBytes: 0, pressure: ['disk'] },
      facts: null,
    })
    await waitFor(async () => (await nodes(server))[0]?.cpu_ratio === 0.5, { what: 'the usage of the heartbeat', deadlineMs: DEADLINE_MS })
    expect((await nodes(server))[0]).toMatchObject({ pressure: ['disk'], memory_ratio: 0.25 })
    await agent.close()
  })
}

function wishes(bench: StoreBench) {
  test('the welcome holds the whole desired set, and each later wish is pushed', async () => {
    const server = await apiServer(bench)
    const first = await welcomed(server)
    const wish = await placed(server, first, 'web')
    expect(wish).toMatchObject({ name: 'web', want: 'running', spec: { runtime: 'fake' } })
    must(await server.as('operator').call('stopInstance', { params: { id: wish.id } }))
    await waitFor(() => first.desired.get(wish.id)?.want === 'stopped', { what: 'the new wish', deadlineMs: DEADLINE_MS })
    await first.close()
    const second = await agentOf(server)
    const welcome = await second.waitForMessage('welcome')
    expect(welcome.items).toMatchObject([{ id: wish.id, want: 'stopped' }])
    expect(welcome.seen).toEqual([{ id: wish.id, seq: 0 }])
    await second.close()
  })

  test('a push that was lost is made up for by the resync', async () => {
    const server = await apiServer(bench, { limits: { linkPushDelayMs: 3_600_000, linkResyncMs: 100 } })
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    await agent.close()
  })

  test('an observation sent twice is stored once, in order, and acknowledged both times', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    const wish = await placed(server, agent, 'web')
    const report = observedOf(wish, running, 1, {
      addresses: [{ name: 'http', protocol: 'tcp', internal: 80, host: '127.0.0.1', port: 4711 }],
    })
    agent.send({ type: 'observed', items: [report] })
    agent.send({ type: 'observed', items: [report] })
    const later = observedOf(wish, stopped, 2, {
      health: 'unknown',
      transitions: [...report.transitions, { seq: 2, atMs: stopped.sinceMs, from: 'running', to: stopped, incarnation: 1, exit: null }],
    })
    agent.send({ type: 'observed', items: [later] })
    await agent.waitForMessage('ack', (ack) => ack.items.some((item) => item.seq === 2))
    const stored = must(await listTransitions(server.store.db, wish.id))
    // The first one is the control plane's own: it placed the instance.
    expect(stored.map((one) => one.to.kind)).toEqual(['placed', 'running', 'stopped'])
    expect(await show(server, wish.id)).toMatchObject({ state: 'stopped', incarnation: 1, addresses: [] })
    const events = must(await server.as('viewer').call('instanceEvents', { params: { id: wish.id } })).items
    expect(events.filter((event) => event.type === 'instance.state_changed').map((event) => event.data.to)).toEqual([
      'placed',
      'running',
      'stopped',
    ])
    await agent.close()
  })

  test('what an agent reported before its connection broke is reported again and stored once', async () => {
    const server = await apiServer(bench)
    const first = await welcomed(server)
    const wish = await placed(server, first, 'web')
    first.send({ type: 'observed', items: [observedOf(wish, running, 1)] })
    await first.waitForMessage('ack')
    await first.close()
    const second = await agentOf(server)
    const welcome = await second.waitForMessage('welcome')
    expect(welcome.seen).toEqual([{ id: wish.id, seq: 1 }])
    second.send({ type: 'observed', items: [observedOf(wish, running, 1)] })
    await second.waitForMessage('ack')
    const history = must(await server.as('viewer').call('historyInstance', { params: { id: wish.id } }))
    expect(history.transitions.filter((one) => one.to === 'running')).toHaveLength(1)
    await second.close()
  })

  test('two hundred instances reported at once are all acknowledged', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    const wish = await placed(server, agent, 'web')
    for (let seq = 1; seq <= 200; seq += 1)
      agent.send({ type: 'observed', items: [observedOf(wish, { ...running, sinceMs: running.sinceMs + seq }, seq)] })
    await agent.waitForMessage('ack', (ack) => ack.items.some((item) => item.seq === 200))
    await agent.close()
  })
}
