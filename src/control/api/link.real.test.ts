import { describe, expect, test } from 'vitest'
import { type ApiServer, apiServer, launch } from '../../../tests/support/api-server.ts'
import { nodeId } from '../../../tests/support/control-records.ts'
import { connectAgent, type FakeAgent, observedOf } from '../../../tests/support/fake-agent.ts'
import { describeEmbeddedStore, must, type StoreBench } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Phase } from '../../contracts/phase.ts'
import { findInstance, listTransitions } from '../store/instances.ts'
import { placeInstance } from '../store/placement.ts'

const DEADLINE_MS = 10_000
const running: Phase = { kind: 'running', reason: 'started', sinceMs: 1_800_000_000_000, attempt: 0, lastError: null }
const stopped: Phase = { kind: 'stopped', reason: 'requested', sinceMs: 1_800_000_001_000, attempt: 0, lastError: null, exit: null }

describeEmbeddedStore('agent link', (bench) => {
  describe('sessions', () => sessions(bench))
  describe('wishes and observations', () => wishes(bench))
  describe('questions to an agent', () => questions(bench))
})

const agentOf = (server: ApiServer, given: { nodeId?: string; bootId?: string; hello?: boolean } = {}) =>
  connectAgent({ url: server.url, token: server.tokens.agent, ...given })

async function welcomed(server: ApiServer, given: { nodeId?: string; bootId?: string } = {}): Promise<FakeAgent> {
  const agent = await agentOf(server, given)
  await agent.waitForMessage('welcome')
  return agent
}

const nodes = async (server: ApiServer) => must(await server.as('viewer').call('listNodes', {})).items
const isOffline = (server: ApiServer) =>
  waitFor(async () => (await nodes(server))[0]?.state === 'offline', { what: 'the node offline', deadlineMs: DEADLINE_MS })

/** A new instance, placed, and the wish as the agent heard it. */
async function placed(server: ApiServer, agent: FakeAgent, name: string): Promise<Desired> {
  const made = must(await server.as('operator').call('createInstance', { body: launch({ name }) }))
  const id = must(await findInstance(server.store.db, made.id, null)).id
  must(await server.store.write('system:test', (tx) => placeInstance(tx, id, nodeId('node-a'))))
  return waitFor(() => agent.desired.get(id), { what: 'the wish at the agent', deadlineMs: DEADLINE_MS })
}

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

function questions(bench: StoreBench) {
  const text = (value: string) => Buffer.from(value).toString('base64')

  test('logs: chunks in order, then the end; the question reaches the agent as asked', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    const wish = await placed(server, agent, 'web')
    let asked: unknown
    agent.onRequest((requestId, request) => {
      asked = request
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: text('one\n'), atMs: 1_800_000_000_000 } })
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stderr', data: text('two\n'), atMs: null } })
      agent.send({ type: 'reply', requestId, error: null, exitCode: null, stats: null, lostBytes: 7 })
    })
    const seen: [string, string, string | null][] = []
    const end = await server
      .as('viewer')
      .stream('logsInstance', { params: { id: 'web' }, query: { tail: 10, previous: true, since: '2026-01-01T00:00:00Z' } }, (chunk) => {
        seen.push([chunk.stream, chunk.data.toString(), chunk.at])
      })
    expect(end).toEqual({ ok: true, value: { exitCode: null, lostBytes: 7 } })
    expect(seen).toEqual([
      ['stdout', 'one\n', '2027-01-15T08:00:00.000Z'],
      ['stderr', 'two\n', null],
    ])
    expect(asked).toEqual({
      op: 'logs',
      instanceId: wish.id,
      follow: false,
      previous: true,
      tailLines: 10,
      sinceMs: Date.parse('2026-01-01T00:00:00Z'),
    })
    await agent.close()
  })

  test('exec: standard input arrives as bytes, the exit code comes back', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    agent.onRequest((requestId, request) => {
      const stdin = request.op === 'exec' ? request.stdin : null
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: stdin ?? '', atMs: null } })
      agent.send({ type: 'reply', requestId, error: null, exitCode: 42, stats: null, lostBytes: null })
    })
    let output = Buffer.alloc(0)
    const end = await server
      .as('operator')
      .stream('execInstance', { params: { id: 'web' }, body: { command: ['cat'], stdin: 'a\0ü' } }, (chunk) => {
        output = Buffer.concat([output, chunk.data])
      })
    expect(end).toEqual({ ok: true, value: { exitCode: 42, lostBytes: null } })
    expect(output.toString()).toBe('a\0ü')
    await agent.close()
  })

  test('stats come back as a view; a refusal of the agent keeps its code and status', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const figures = {
      atMs: 0,
      cpuSeconds: 1,
      cpuRatio: 0.5,
      memoryBytes: 2,
      memoryLimitBytes: 3,
      networkReceivedBytes: null,
      networkSentBytes: null,
      diskReadBytes: null,
      diskWrittenBytes: null,
      processes: 4,
    }
    let refuse = false
    agent.onRequest((requestId) => {
      const error = refuse ? { code: 'wrong_state' as const, detail: 'It is stopped; it has to run.', fields: { state: 'stopped' } } : null
      agent.send({ type: 'reply', requestId, error, exitCode: null, stats: error ? null : figures, lostBytes: null })
    })
    const stats = () => server.as('viewer').call('statsInstance', { params: { id: 'web' } })
    expect(must(await stats())).toMatchObject({ at: '1970-01-01T00:00:00.000Z', cpu_ratio: 0.5, processes: 4, disk_read_bytes: null })
    refuse = true
    expect(await stats()).toMatchObject({
      ok: false,
      error: { code: 'wrong_state', detail: 'It is stopped; it has to run.', fields: { state: 'stopped' } },
    })
    const logs = await server.as('viewer').stream('logsInstance', { params: { id: 'web' } }, () => {})
    expect(logs).toMatchObject({ ok: false, error: { code: 'wrong_state' } })
    await agent.close()
  })

  test('a client that goes away cancels at the agent; a server that closes ends a follow', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    agent.onRequest((requestId) => agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: text('x'), atMs: null } }))
    const controller = new AbortController()
    const follow = (signal?: AbortSignal) =>
      server.as('viewer').stream('logsInstance', { params: { id: 'web' }, query: { follow: true } }, () => controller.abort(), signal)
    expect(await follow(controller.signal)).toMatchObject({ ok: false, error: { code: 'cancelled' } })
    await agent.waitForMessage('cancel')
    const second = follow()
    await waitFor(() => agent.heard.filter((message) => message.type === 'request').length === 2, {
      what: 'the second question',
      deadlineMs: DEADLINE_MS,
    })
    await server.api.close()
    expect((await second).ok).toBe(false)
  })

  test('output without a reader is bounded: the request is cut off and the agent told to stop', async () => {
    const server = await apiServer(bench, { limits: { outputBufferBytesMax: 100_000, slowReaderMs: 60_000 } })
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const data = text('x'.repeat(48_000))
    agent.onRequest((requestId) => {
      for (let index = 0; index < 400; index += 1) agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data, atMs: null } })
    })
    let release = () => {}
    const stuck = new Promise<void>((resolve) => {
      release = resolve
    })
    const reading = server.as('viewer').stream('logsInstance', { params: { id: 'web' }, query: { follow: true } }, () => stuck)
    await agent.waitForMessage('cancel')
    release()
    expect(await reading).toMatchObject({
      ok: false,
      error: { code: 'cancelled', detail: expect.stringContaining('faster than it was read') },
    })
    await agent.close()
  })

  test('node_unreachable while the agent is away, at once and in the middle', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const logs = () => server.as('viewer').stream('logsInstance', { params: { id: 'web' }, query: { follow: true } }, () => {})
    const open = logs()
    await agent.waitForMessage('request')
    await agent.close()
    expect(await open).toMatchObject({ ok: false, error: { code: 'node_unreachable' } })
    expect(await logs()).toMatchObject({ ok: false, error: { code: 'node_unreachable', fields: { node_id: 'node-a' } } })
    expect(await server.as('viewer').call('statsInstance', { params: { id: 'web' } })).toMatchObject({
      ok: false,
      error: { code: 'node_unreachable' },
    })
  })

  test('an agent that does not answer is waited for only so long', async () => {
    const server = await apiServer(bench, { limits: { statsMs: 100 } })
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    expect(await server.as('viewer').call('statsInstance', { params: { id: 'web' } })).toMatchObject({
      ok: false,
      error: { code: 'node_unreachable', detail: expect.stringContaining('100 ms') },
    })
    await agent.waitForMessage('cancel')
    await agent.close()
  })
}
