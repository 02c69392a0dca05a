import { expect, test } from 'vitest'
import { apiServer } from '../../../tests/support/api-server.ts'
import type { FakeAgent } from '../../../tests/support/fake-agent.ts'
import { placed, welcomed } from '../../../tests/support/linked.ts'
import { describeEmbeddedStore, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { CHUNK_BYTES_MAX, chunkCost, SendWindow } from '../../contracts/stream-window.ts'

const DEADLINE_MS = 10_000
const DONE = { error: null, exitCode: null, stats: null, lostBytes: null }

describeEmbeddedStore('questions to an agent', (bench) => {
  const text = (value: string) => Buffer.from(value).toString('base64')

  test('logs: chunks in order, then the end; the question reaches the agent as asked', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    const wish = await placed(server, agent, 'web')
    let asked: unknown
    agent.onRequest((requestId, request) => {
      asked = request
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: text('one\n'), atMs: 1_800_000_000_000, lostBytes: 0 } })
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stderr', data: text('two\n'), atMs: null, lostBytes: 0 } })
      agent.send({ type: 'reply', requestId, error: null, exitCode: null, stats: null, lostBytes: 7, incarnation: 3 })
    })
    const seen: [string, string, string | null][] = []
    const end = await server
      .as('viewer')
      .stream('logsInstance', { params: { id: 'web' }, query: { tail: 10, previous: true, since: '2026-01-01T00:00:00Z' } }, (chunk) => {
        seen.push([chunk.stream, chunk.data.toString(), chunk.at])
      })
    expect(end).toEqual({ ok: true, value: { exitCode: null, lostBytes: 7, incarnation: 3 } })
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
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: stdin ?? '', atMs: null, lostBytes: 0 } })
      agent.send({ type: 'reply', requestId, error: null, exitCode: 42, stats: null, lostBytes: null })
    })
    let output = Buffer.alloc(0)
    const end = await server
      .as('operator')
      .stream('execInstance', { params: { id: 'web' }, body: { command: ['cat'], stdin: 'a\0ü' } }, (chunk) => {
        output = Buffer.concat([output, chunk.data])
      })
    expect(end).toEqual({ ok: true, value: { exitCode: 42, lostBytes: null, incarnation: null } })
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
    const told = await (await server.fetch('/v1/instances/web/logs')).json()
    expect(told).toMatchObject({ hint: 'Run holdfast show web to see its state, and holdfast why web for the reason.' })
    await agent.close()
  })

  test('a client that goes away cancels at the agent; a server that closes ends a follow', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    agent.onRequest((requestId) =>
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: text('x'), atMs: null, lostBytes: 0 } }),
    )
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

  test('a quiet follow shows that it lives', async () => {
    const server = await apiServer(bench, { limits: { eventHeartbeatMs: 20, streamHeadMs: 10 } })
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const response = await server.fetch('/v1/instances/web/logs?follow=true')
    let text = ''
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString()
      if (text.length >= 3) break
    }
    expect(text).toMatch(/^\n+$/)
    await agent.close()
  })

  test('a server that closes lets a request under way finish', async () => {
    const target = await bench.database()
    const store = await bench.store({ target })
    const server = await apiServer({ store: async () => store })
    const blocker = await bench.connect(target)
    await blocker.query('begin')
    await blocker.query('lock table instances in access exclusive mode')
    const slow = server.fetch('/v1/instances')
    const isWaiting = async () =>
      (await blocker.query('select count(*)::int as waiting from pg_locks where not granted')).rows[0].waiting > 0
    await waitFor(isWaiting, { what: 'the request waiting for the lock', deadlineMs: DEADLINE_MS })
    const closed = server.api.close()
    await blocker.query('rollback')
    expect((await slow).status).toBe(200)
    await closed
    await expect(server.fetch('/v1/instances')).rejects.toThrow()
  })

  /** Sends chunks as an agent does: as much as the window allows, then as credit comes; says how far it got. */
  function flooding(agent: FakeAgent, count: number) {
    const data = text('x'.repeat(CHUNK_BYTES_MAX))
    const state = { sent: 0, id: '' }
    let window = new SendWindow(0)
    const pump = () => {
      for (; state.sent < count && window.spend(chunkCost({ data })); state.sent += 1)
        agent.send({ type: 'chunk', requestId: state.id, chunk: { stream: 'stdout', data, atMs: null, lostBytes: 0 } })
      if (state.sent === count) agent.send({ type: 'reply', requestId: state.id, ...DONE })
    }
    agent.onRequest((requestId, _request, windowBytes) => {
      state.id = requestId
      window = new SendWindow(windowBytes)
      pump()
    })
    agent.onCredit((requestId, bytes) => {
      if (requestId !== state.id) return
      window.grant(bytes)
      pump()
    })
    return state
  }

  test('a reader that stands still makes the agent wait, for longer than any limit, and then gets every byte', async () => {
    const server = await apiServer(bench, { limits: { slowReaderMs: 50 } })
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const flood = flooding(agent, 2000)
    const stuck = Promise.withResolvers<void>()
    let bytes = 0
    let lastSent = -1
    const reading = server.as('viewer').stream('logsInstance', { params: { id: 'web' }, query: { follow: true } }, async (chunk) => {
      bytes += chunk.data.length
      await stuck.promise
    })
    // It moves as long as the kernel takes bytes for the reader, then no more: two looks 300 ms apart see the same.
    const stands = () => {
      const stood = flood.sent > 0 && flood.sent === lastSent
      lastSent = flood.sent
      return stood
    }
    await waitFor(stands, { what: 'the agent waits', deadlineMs: DEADLINE_MS, everyMs: 300 })
    expect(flood.sent).toBeLessThan(1000)
    // Neither heartbeats nor other requests wait with it.
    agent.onRequest((requestId) => agent.send({ type: 'reply', requestId, ...DONE, exitCode: 0 }))
    const other = await server.as('operator').stream('execInstance', { params: { id: 'web' }, body: { command: ['x'] } }, () => {})
    expect(other).toEqual({ ok: true, value: { exitCode: 0, lostBytes: null, incarnation: null } })
    expect(agent.heard.filter((message) => message.type === 'cancel')).toEqual([])
    stuck.resolve()
    expect(await reading).toEqual({ ok: true, value: { exitCode: null, lostBytes: null, incarnation: null } })
    expect(bytes).toBe(2000 * CHUNK_BYTES_MAX)
    await agent.close()
  })

  test('a reader that stood still and hangs up ends the request at the agent at once', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const flood = flooding(agent, 10_000)
    const controller = new AbortController()
    const stuck = Promise.withResolvers<void>()
    const reading = server
      .as('viewer')
      .stream('logsInstance', { params: { id: 'web' }, query: { follow: true } }, () => stuck.promise, controller.signal)
    await waitFor(() => flood.sent > 0, { what: 'output', deadlineMs: DEADLINE_MS })
    controller.abort()
    await agent.waitForMessage('cancel', ({ requestId }) => requestId === flood.id)
    stuck.resolve()
    expect(await reading).toMatchObject({ ok: false, error: { code: 'cancelled' } })
    await agent.close()
  })

  test('an agent that sends beyond the window does not keep to the protocol: its session ends by name', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    const chunk = { stream: 'stdout', data: text('x'.repeat(CHUNK_BYTES_MAX)), atMs: null, lostBytes: 0 } as const
    agent.onRequest((requestId) => {
      for (let n = 0; n < 400; n += 1) agent.send({ type: 'chunk', requestId, chunk })
    })
    const stuck = Promise.withResolvers<void>()
    const reading = server.as('viewer').stream('logsInstance', { params: { id: 'web' }, query: { follow: true } }, () => stuck.promise)
    const { error } = await agent.waitForMessage('refused')
    expect(error).toMatchObject({ code: 'invalid_input', detail: expect.stringContaining('window') })
    stuck.resolve()
    expect(await reading).toMatchObject({ ok: false, error: { code: 'node_unreachable' } })
  })

  test('bytes that a bounded log dropped under way are told where they are missing', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    await placed(server, agent, 'web')
    agent.onRequest((requestId) => {
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: text('a'), atMs: null, lostBytes: 0 } })
      agent.send({ type: 'chunk', requestId, chunk: { stream: 'stdout', data: text('b'), atMs: null, lostBytes: 12_345 } })
      agent.send({ type: 'reply', requestId, ...DONE, lostBytes: 12_345 })
    })
    const seen: unknown[] = []
    await server.as('viewer').stream('logsInstance', { params: { id: 'web' } }, ({ data, lostBytes }) => {
      seen.push([data.toString(), lostBytes])
    })
    expect(seen).toEqual([
      ['a', 0],
      ['b', 12_345],
    ])
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
})
