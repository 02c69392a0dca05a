import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { ManualClock, seededRandom } from '../../../tests/support/manual-clock.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import type { LogFields } from '../../base/log.ts'
import { type Desired, FromAgent, type FromControl, LINK_PATH, type NodeUsage } from '../../contracts/agent-protocol.ts'
import { InstanceId, NodeId, OrgId } from '../../contracts/ids.ts'
import { InstanceInput } from '../../contracts/spec.ts'
import { compileSpec } from '../../contracts/spec-compile.ts'
import type { OnRequest } from './answers.ts'
import { LINK_LIMITS } from './limits.ts'
import { type LinkDeps, openLink } from './link.ts'

const ID = InstanceId.parse('inst_00000000000000000001')
const USAGE: NodeUsage = { atMs: 1, cpuRatio: 0.1, memoryRatio: 0.2, diskRatio: 0.3, reservedMemoryBytes: 0, pressure: [] }
const FACTS = {
  hostname: 'h',
  os: 'linux',
  cores: 2,
  memoryBytes: 1,
  allocatableMemoryBytes: 1,
  allocatableCpuMillis: 2000,
  labels: {},
  runtimes: [],
  agentVersion: '0',
}

function desired(): Desired {
  const spec = compileSpec(InstanceInput.parse({ command: ['true'] }))
  if (!spec.ok) throw new Error(spec.error.detail)
  return {
    id: ID,
    orgId: OrgId.parse('org_00000000000000000001'),
    name: 'a',
    generation: 1,
    want: 'running',
    spec: spec.value,
    labels: {},
    recoveryMode: null,
    restartSeq: 0,
    recoverSeq: 0,
    healSeq: 0,
  }
}

interface Line {
  readonly level: string
  readonly msg: string
  readonly fields: LogFields | undefined
}

/** A control plane of one socket server: it answers hello with what `greet` says and keeps what it was told. */
async function startControl(options: { greet?: FromControl | null; autoPong?: boolean } = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', path: LINK_PATH, autoPong: options.autoPong ?? true })
  await once(server, 'listening')
  const told: FromAgent[] = []
  const upgrades: IncomingMessage[] = []
  let pings = 0
  let greet = options.greet === undefined ? ({ type: 'welcome', items: [], seen: [] } as const) : options.greet
  server.on('connection', (socket, request) => {
    upgrades.push(request)
    socket.on('ping', () => {
      pings += 1
    })
    socket.on('message', (data) => {
      const message = FromAgent.parse(JSON.parse(String(data)))
      told.push(message)
      if (message.type === 'hello' && greet) socket.send(JSON.stringify(greet))
    })
  })
  onTestFinished(async () => {
    for (const client of server.clients) client.terminate()
    await new Promise((resolve) => server.close(resolve))
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    told,
    upgrades,
    clients: server.clients,
    get pings() {
      return pings
    },
    greetWith(message: FromControl) {
      greet = message
    },
    send(message: unknown) {
      for (const client of server.clients) client.send(typeof message === 'string' ? message : JSON.stringify(message))
    },
    ofType: <T extends FromAgent['type']>(type: T) =>
      told.filter((message): message is Extract<FromAgent, { type: T }> => message.type === type),
  }
}

/** Remembers what was slept: the waits between two dials. */
class WaitClock extends ManualClock {
  readonly waits: number[] = []
  override sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    this.waits.push(durationMs)
    return super.sleep(durationMs, signal)
  }
}

function startLink(controlUrl: string, given: Partial<LinkDeps> = {}) {
  const clock = new WaitClock()
  const lines: Line[] = []
  const at = (level: string) => (msg: string, fields?: LogFields) => void lines.push({ level, msg, fields })
  const events: string[] = []
  const link = openLink({
    controlUrl,
    token: 'secret-token',
    clock,
    random: seededRandom(1),
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    hello: () => ({ nodeId: NodeId.parse('node-a'), bootId: 'boot', facts: FACTS, usage: USAGE, instances: [] }),
    usage: () => USAGE,
    onWelcome: (items, seen) => events.push(`welcome ${items.map(({ name }) => name).join()} ${seen.map(({ seq }) => seq).join()}`),
    onDesired: (items) => events.push(`desired ${items.map(({ name }) => name).join()}`),
    onAck: (items) => events.push(`ack ${items.map(({ seq }) => seq).join()}`),
    onRequest: async () => ({ error: null, exitCode: 0, stats: null, lostBytes: null }),
    onConnected: (connected) => events.push(connected ? 'connected' : 'gone'),
    ...given,
  })
  onTestFinished(() => link.close())
  const connected = () => waitFor(() => link.connected(), { what: 'the link is welcomed', deadlineMs: 5000 })
  return { link, clock, lines, events, connected }
}

const eventually = (what: string, condition: () => unknown) => waitFor(() => Boolean(condition()), { what, deadlineMs: 5000, everyMs: 5 })

describe('the link of an agent', () => {
  test('the token travels in the upgrade request and never in a message or the URL', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url)
    await connected()
    expect(control.upgrades[0]?.headers.authorization).toBe('Bearer secret-token')
    expect(control.upgrades[0]?.url).toBe(LINK_PATH)
    expect(JSON.stringify(control.told)).not.toContain('secret-token')
  })

  test('hello is said first; the welcome is handed over before anybody hears of a connection', async () => {
    const control = await startControl({ greet: { type: 'welcome', items: [desired()], seen: [{ id: ID, seq: 7 }] } })
    const { events, connected, lines } = startLink(control.url)
    await connected()
    expect(control.told[0]).toMatchObject({ type: 'hello', protocol: 1, nodeId: 'node-a' })
    expect(events).toEqual(['welcome a 7', 'connected'])
    expect(lines.map(({ msg }) => msg)).toEqual(['connected to the control plane'])
  })

  test('wishes, acknowledgements, observations and facts go through', async () => {
    const control = await startControl()
    const { link, events, connected } = startLink(control.url)
    expect(link.sendObserved([])).toBe(false)
    expect(link.sendFacts(FACTS)).toBe(false)
    await connected()
    control.send({ type: 'desired', items: [desired()] })
    control.send({ type: 'ack', items: [{ id: ID, seq: 3 }] })
    expect(link.sendObserved([])).toBe(true)
    expect(link.sendFacts(FACTS)).toBe(true)
    await eventually('all arrived', () => events.includes('ack 3') && control.ofType('heartbeat').some(({ facts }) => facts))
    expect(events.slice(2)).toEqual(['desired a', 'ack 3'])
    expect(control.ofType('observed')).toEqual([{ type: 'observed', items: [] }])
  })

  test('what cannot be understood is logged and dropped, one item at a time, and the link goes on', async () => {
    const control = await startControl({
      greet: { type: 'welcome', items: [desired(), { ...desired(), want: 'teleported' } as unknown as Desired], seen: [] },
    })
    const { link, events, lines, connected } = startLink(control.url)
    await connected()
    for (const junk of [
      'no json',
      '[]',
      'null',
      '"x"',
      '{"type":"new-in-v2"}',
      '{"type":"desired","items":7}',
      '{"type":"desired","items":[null,{"id":5}]}',
    ])
      control.send(junk)
    control.send({ type: 'desired', items: [desired()] })
    await eventually('the good one came through', () => events.includes('desired a'))
    expect(events).toEqual(['welcome a ', 'connected', 'desired ', 'desired a'])
    expect(link.connected()).toBe(true)
    const warned = lines.filter(({ level }) => level === 'warn')
    expect(warned.every(({ msg }) => msg === 'message from control not understood')).toBe(true)
    expect(warned.map(({ fields }) => fields?.what).join('\n')).toMatch(
      /instance "inst_00000000000000000001": want.*not JSON.*"new-in-v2".*instance 5: id/s,
    )
  })

  test('a handler that throws does not end the connection', async () => {
    const control = await startControl()
    const { link, events, lines, connected } = startLink(control.url, {
      onDesired: () => {
        throw new Error('bug')
      },
    })
    await connected()
    control.send({ type: 'desired', items: [] })
    control.send({ type: 'ack', items: [] })
    await eventually('the ack came through', () => events.includes('ack '))
    expect(link.connected()).toBe(true)
    expect(lines).toContainEqual(expect.objectContaining({ level: 'error', msg: 'message handler failed' }))
  })

  test('a lost connection is dialled again, and one outage is one line', async () => {
    const control = await startControl()
    const { link, clock, events, lines, connected } = startLink(control.url)
    await connected()
    for (const client of control.clients) client.terminate()
    await eventually('the loss was noticed', () => events.includes('gone') && clock.waits.length === 1)
    expect(link.connected()).toBe(false)
    expect(link.sendObserved([])).toBe(false)
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await connected()
    expect(events).toEqual(['welcome  ', 'connected', 'gone', 'welcome  ', 'connected'])
    expect(control.ofType('hello')).toHaveLength(2)
    expect(lines.filter(({ level }) => level === 'warn')).toHaveLength(1)
  })

  test('while nobody listens the waits grow to their cap and the log stays quiet', async () => {
    const server = createServer((socket) => {
      dials += 1
      socket.destroy()
    })
    let dials = 0
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { clock, lines } = startLink(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    for (let dial = 1; dial <= 9; dial += 1) {
      await eventually(`dial ${dial} and its wait`, () => dials === dial && clock.waits.length === dial)
      await clock.advance(clock.waits[dial - 1]!)
    }
    for (const [index, waitMs] of clock.waits.entries()) {
      const wholeMs = Math.min(LINK_LIMITS.reconnect.maxMs, LINK_LIMITS.reconnect.baseMs * 2 ** index)
      expect(waitMs).toBeGreaterThanOrEqual(wholeMs / 2)
      expect(waitMs).toBeLessThanOrEqual(wholeMs)
    }
    expect(lines.filter(({ level }) => level !== 'debug')).toHaveLength(1)
  })

  test('the heartbeat brings usage and keeps a quiet connection alive', async () => {
    const control = await startControl()
    const { link, clock, connected } = startLink(control.url)
    await connected()
    for (let beat = 1; beat <= 6; beat += 1) {
      await clock.advance(LINK_LIMITS.heartbeatMs)
      await eventually('ping answered', () => control.pings === beat + 1 && control.ofType('heartbeat').length === beat + 1)
      // The pong is on its way back; the acknowledged request proves that it was read.
      control.send({ type: 'request', requestId: `r${beat}`, request: { op: 'stats', instanceId: ID } })
      await eventually('the way back works', () => control.ofType('reply').length === beat)
    }
    expect(link.connected()).toBe(true)
    expect(control.ofType('heartbeat').every(({ facts }) => facts === null)).toBe(true)
  })

  test('half-open: silence over three heartbeats ends the connection, and it is dialled again', async () => {
    const control = await startControl({ autoPong: false })
    const { clock, events, lines, connected } = startLink(control.url)
    await connected()
    await clock.advance(LINK_LIMITS.heartbeatMs * 2)
    expect(events).not.toContain('gone')
    await clock.advance(LINK_LIMITS.heartbeatMs)
    await eventually('taken for dead', () => events.includes('gone') && clock.waits.length === 1)
    expect(lines.at(-1)).toMatchObject({ level: 'warn', fields: { error_code: 'control_unreachable' } })
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await connected()
  })

  test('half-open: a server that accepts and says nothing does not hold the agent', async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => sockets.push(socket))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    const { clock } = startLink(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    await eventually('first dial', () => sockets.length === 1)
    await clock.advance(LINK_LIMITS.welcomeDeadlineMs)
    await eventually('given up', () => clock.waits.length === 1)
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await eventually('second dial', () => sockets.length === 2)
  })

  test('a control plane that never welcomes is left and dialled again', async () => {
    const control = await startControl({ greet: null })
    const { link, clock, events } = startLink(control.url)
    await eventually('hello arrived', () => control.ofType('hello').length === 1)
    expect(link.connected()).toBe(false)
    await clock.advance(LINK_LIMITS.welcomeDeadlineMs)
    await eventually('hung up', () => clock.waits.length === 1)
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await eventually('hello again', () => control.ofType('hello').length === 2)
    expect(events).toEqual([])
  })

  test('a refusal is logged by name once, tried again slowly, and ends when it is lifted', async () => {
    const control = await startControl({
      greet: { type: 'refused', error: { code: 'node_id_taken', detail: 'node-a is connected already.' } },
    })
    const { clock, lines, events, connected } = startLink(control.url)
    for (let dial = 1; dial <= 3; dial += 1) {
      await eventually(`refusal ${dial}`, () => clock.waits.length === dial)
      expect(clock.waits[dial - 1]).toBeGreaterThanOrEqual(LINK_LIMITS.reconnect.maxMs / 2)
      if (dial === 3) control.greetWith({ type: 'welcome', items: [], seen: [] })
      await clock.advance(clock.waits[dial - 1]!)
    }
    await connected()
    expect(lines.filter(({ level }) => level === 'error')).toEqual([
      {
        level: 'error',
        msg: 'refused by the control plane',
        fields: expect.objectContaining({ error_code: 'node_id_taken', error: 'node-a is connected already.' }),
      },
    ])
    expect(events).toEqual(['welcome  ', 'connected'])
  })

  test('a wrong token is a refusal by name', async () => {
    const server = createHttpServer()
    server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { lines } = startLink(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    await eventually('it is told', () => lines.length > 0)
    expect(lines).toEqual([
      { level: 'error', msg: 'refused by the control plane', fields: expect.objectContaining({ error_code: 'unauthenticated' }) },
    ])
  })

  test('closing hangs up, leaves no timer and dials no more', async () => {
    const control = await startControl()
    const { link, clock, connected } = startLink(control.url)
    await connected()
    await link.close()
    await eventually('hung up', () => control.clients.size === 0)
    expect(clock.timers).toBe(0)
    expect(link.connected()).toBe(false)
    await clock.advance(60_000)
    expect(control.upgrades).toHaveLength(1)
  })
})

const stats = { op: 'stats', instanceId: ID } as const
const answered: Awaited<ReturnType<OnRequest>> = { error: null, exitCode: null, stats: null, lostBytes: null }

describe('requests of the control plane', () => {
  test('chunks come in order, then exactly one reply', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url, {
      onRequest: async (_request, reply) => {
        for (const data of ['YQ==', 'Yg==']) reply.chunk({ stream: 'stdout', data, atMs: null })
        return { ...answered, exitCode: 3, lostBytes: 12 }
      },
    })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats })
    await eventually('the reply', () => control.ofType('reply').length === 1)
    expect(control.told.filter((message) => 'requestId' in message)).toEqual([
      { type: 'chunk', requestId: 'r1', chunk: { stream: 'stdout', data: 'YQ==', atMs: null } },
      { type: 'chunk', requestId: 'r1', chunk: { stream: 'stdout', data: 'Yg==', atMs: null } },
      { type: 'reply', requestId: 'r1', error: null, exitCode: 3, stats: null, lostBytes: 12 },
    ])
  })

  test('a failure travels with code and fields and without its cause; a throw is `internal`', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url, {
      onRequest: async (request) => {
        if (request.op === 'stats') throw new Error('bug with secret')
        return { ...answered, error: { code: 'not_found', detail: 'none', fields: { a: ['x'] }, cause: new Error('secret') } }
      },
    })
    await connected()
    control.send({
      type: 'request',
      requestId: 'r1',
      request: { op: 'logs', instanceId: ID, follow: false, tailLines: null, sinceMs: null, previous: false },
    })
    control.send({ type: 'request', requestId: 'r2', request: stats })
    await eventually('both replies', () => control.ofType('reply').length === 2)
    expect(control.ofType('reply').map(({ error }) => error)).toEqual([
      { code: 'not_found', detail: 'none', fields: { a: ['x'] } },
      expect.objectContaining({ code: 'internal' }),
    ])
    expect(JSON.stringify(control.told)).not.toContain('secret')
  })

  test('cancel aborts the one request; a lost connection aborts all, and nothing of them is sent later', async () => {
    const control = await startControl()
    const aborted: unknown[] = []
    const { clock, connected } = startLink(control.url, {
      onRequest: (_request, _reply, signal) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            aborted.push(signal.reason)
            resolve(answered)
          }),
        ),
    })
    await connected()
    for (const requestId of ['r1', 'r2']) control.send({ type: 'request', requestId, request: stats })
    control.send({ type: 'cancel', requestId: 'r1' })
    control.send({ type: 'cancel', requestId: 'unknown' })
    await eventually('r1 is answered', () => control.ofType('reply').some(({ requestId }) => requestId === 'r1'))
    expect(aborted).toHaveLength(1)
    for (const client of control.clients) client.terminate()
    await eventually('r2 aborted', () => aborted.length === 2 && clock.waits.length === 1)
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await connected()
    expect(control.ofType('reply').map(({ requestId }) => requestId)).toEqual(['r1'])
  })

  test('more requests than the bound are refused by name, the same id twice runs once', async () => {
    const control = await startControl()
    const release = Promise.withResolvers<void>()
    let begun = 0
    const { connected } = startLink(control.url, {
      onRequest: async () => {
        begun += 1
        await release.promise
        return answered
      },
    })
    await connected()
    for (let n = 0; n < LINK_LIMITS.requestsMax; n += 1) control.send({ type: 'request', requestId: `r${n}`, request: stats })
    control.send({ type: 'request', requestId: 'r0', request: stats })
    control.send({ type: 'request', requestId: 'one-more', request: stats })
    await eventually('the refusal', () => control.ofType('reply').length === 1)
    expect(control.ofType('reply')[0]).toMatchObject({ requestId: 'one-more', error: { code: 'too_many_requests' } })
    expect(begun).toBe(LINK_LIMITS.requestsMax)
    release.resolve()
    await eventually('all answered', () => control.ofType('reply').length === LINK_LIMITS.requestsMax + 1)
  })

  test('a reader that does not read makes the writer wait, and the observations are refused, not hoarded', async () => {
    const control = await startControl()
    const data = 'A'.repeat(2 ** 20)
    let sent = 0
    let drained = false
    const { link, connected } = startLink(control.url, {
      onRequest: async (_request, reply, signal) => {
        while (!signal.aborted && reply.chunk({ stream: 'stdout', data, atMs: null })) sent += 1
        await reply.drained()
        drained = true
        return answered
      },
    })
    await connected()
    for (const client of control.clients) client.pause()
    control.send({ type: 'request', requestId: 'r', request: stats })
    // A paused ws client still reads what it has: the writer stops only when the kernel's buffers are full too.
    await eventually('told to wait', () => sent > 0)
    expect(sent).toBeLessThan(64)
    expect(link.connected()).toBe(true)
    expect(drained).toBe(false)
    for (const client of control.clients) client.resume()
    await eventually('drained and answered', () => drained && control.ofType('reply').length === 1)
    expect(control.ofType('chunk').length).toBe(sent + 1)
  })

  test('a writer that never waits is ended before it fills the memory', async () => {
    const control = await startControl()
    const data = 'A'.repeat(2 ** 20)
    let sent = 0
    let observedTaken = true
    const { link, connected } = startLink(control.url, {
      onRequest: async (_request, reply, signal) => {
        for (; !signal.aborted && sent < 500; sent += 1) reply.chunk({ stream: 'stdout', data, atMs: null })
        observedTaken = link.sendObserved([])
        return answered
      },
    })
    await connected()
    for (const client of control.clients) client.pause()
    control.send({ type: 'request', requestId: 'r', request: stats })
    await eventually('stopped', () => sent > 0)
    expect(sent).toBeLessThan(100)
    expect(observedTaken).toBe(false)
    for (const client of control.clients) client.resume()
    await eventually('answered', () => control.ofType('reply').length === 1)
    expect(control.ofType('reply')[0]).toMatchObject({ error: { code: 'cancelled' } })
  })
})

test('an https address is dialled as wss', async () => {
  const seen: Buffer[] = []
  const server = createServer((socket) =>
    socket.once('data', (data: Buffer) => {
      seen.push(data)
      socket.destroy()
    }),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  startLink(`https://127.0.0.1:${(server.address() as AddressInfo).port}`)
  await eventually('something came', () => seen.length > 0)
  // 0x16 begins a TLS handshake.
  expect(seen[0]?.[0]).toBe(0x16)
})
