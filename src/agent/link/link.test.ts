import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { desiredOf } from '../../../tests/support/desired.ts'
import { eventually, FACTS, ID, startControl, startLink, USAGE } from '../../../tests/support/link-bench.ts'
import { type Desired, LINK_PATH, PROTOCOL_VERSION } from '../../contracts/agent-protocol.ts'
import { NodeId } from '../../contracts/ids.ts'
import { LINK_LIMITS } from './limits.ts'

describe('the link of an agent', () => {
  test('the token travels in the upgrade request and never in a message or the URL', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url)
    await connected()
    expect(control.upgrades[0]?.headers.authorization).toBe('Bearer secret-token')
    expect(control.upgrades[0]?.url).toBe(LINK_PATH)
    expect(JSON.stringify(control.told)).not.toContain('secret-token')
  })

  test.each([
    ['an address that is none', 'http://[', {}],
    ['a dial that throws', 'http://127.0.0.1:1', { dial: () => assert.fail('no socket') }],
  ])('%s is an outage like others: told once, tried again, and no end of the agent', async (_what, url, given) => {
    const { link, clock, lines } = startLink(url, given)
    for (let dials = 1; dials <= 3; dials += 1) {
      await eventually('it waits for the next dial', () => clock.waits.length >= dials)
      await clock.advance(LINK_LIMITS.reconnect.maxMs)
    }
    expect(lines.filter(({ level }) => level !== 'debug').map(({ msg }) => msg)).toEqual([
      'control plane not reached; workloads keep running',
    ])
    await link.close()
  })

  test('hello is said first; the welcome is handed over before anybody hears of a connection', async () => {
    const control = await startControl({ greet: { type: 'welcome', items: [desiredOf()], seen: [{ id: ID, seq: 7 }] } })
    const { events, connected, lines } = startLink(control.url)
    await connected()
    expect(control.told[0]).toMatchObject({ type: 'hello', protocol: PROTOCOL_VERSION, nodeId: 'node-a' })
    expect(events).toEqual(['welcome web 7', 'connected'])
    expect(lines.map(({ msg }) => msg)).toEqual(['connected to the control plane'])
  })

  test('wishes, acknowledgements, observations and facts go through', async () => {
    const control = await startControl()
    const { link, events, connected } = startLink(control.url)
    expect(link.sendObserved([])).toBe(false)
    expect(link.sendFacts(FACTS)).toBe(false)
    await connected()
    control.send({ type: 'desired', items: [desiredOf()] })
    control.send({ type: 'ack', items: [{ id: ID, seq: 3 }] })
    expect(link.sendObserved([])).toBe(true)
    expect(link.sendFacts(FACTS)).toBe(true)
    await eventually('all arrived', () => events.includes('ack 3') && control.ofType('heartbeat').some(({ facts }) => facts))
    expect(events.slice(2)).toEqual(['desired web', 'ack 3'])
    expect(control.ofType('observed')).toEqual([{ type: 'observed', items: [] }])
  })

  test('what cannot be understood is logged and dropped, one item at a time, and the link goes on', async () => {
    const control = await startControl({
      greet: { type: 'welcome', items: [desiredOf(), { ...desiredOf(), want: 'teleported' } as unknown as Desired], seen: [] },
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
    control.send({ type: 'desired', items: [desiredOf()] })
    await eventually('the good one came through', () => events.includes('desired web'))
    expect(events).toEqual(['welcome web ', 'connected', 'desired ', 'desired web'])
    expect(link.connected()).toBe(true)
    const warned = lines.filter(({ level }) => level === 'warn')
    expect(warned.every(({ msg }) => msg === 'message from control not understood')).toBe(true)
    expect(warned.map(({ fields }) => fields?.what).join('\n')).toMatch(
      /instance "inst_00000000000000000001": want.*not JSON.*"new-in-v2".*instance 5: id/s,
    )
  })

  test('T42: a handler that throws does not end the connection', async () => {
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

  test('T42: a hello that throws is an outage like others: told, dialled again, and said when it can be', async () => {
    const control = await startControl()
    let broken = true
    const { link, clock, lines, connected } = startLink(control.url, {
      hello: () => {
        if (broken) throw new Error('no facts')
        return { nodeId: NodeId.parse('node-a'), bootId: 'boot', facts: FACTS, usage: USAGE, instances: [] }
      },
    })
    await eventually('it waits for the next dial', () => clock.waits.length === 1)
    expect([link.connected(), control.told]).toEqual([false, []])
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'error', msg: 'message handler failed', fields: expect.objectContaining({ what: 'hello' }) }),
    )
    broken = false
    await clock.advance(LINK_LIMITS.reconnect.maxMs)
    await connected()
    expect(control.ofType('hello')).toHaveLength(1)
  })

  test('T42: figures that cannot be read stop no heartbeat: those of before are told, and it goes on', async () => {
    const control = await startControl()
    let reads = 0
    const { link, clock, lines, connected } = startLink(control.url, {
      usage: () => {
        reads += 1
        if (reads > 1) throw new Error('no /proc')
        return USAGE
      },
    })
    await connected()
    for (let beats = 2; beats <= 4; beats += 1) {
      await clock.advance(LINK_LIMITS.heartbeatMs)
      await eventually('the next heartbeat', () => control.ofType('heartbeat').length >= beats)
    }
    expect(control.ofType('heartbeat').every(({ usage }) => usage.memoryRatio === USAGE.memoryRatio)).toBe(true)
    expect([link.connected(), link.sendFacts(FACTS)]).toEqual([true, true])
    expect(lines.filter(({ msg }) => msg === 'message handler failed').length).toBeGreaterThan(0)
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
      control.send({ type: 'request', requestId: `r${beat}`, request: { op: 'stats', instanceId: ID }, windowBytes: 2 ** 19 })
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

  test('a refusal that passes by itself is an outage like others: dialled again soon, no error', async () => {
    const control = await startControl({ greet: { type: 'refused', error: { code: 'store_unavailable', detail: 'restarting' } } })
    const { clock, lines, connected } = startLink(control.url)
    await eventually('refused', () => clock.waits.length === 1)
    expect(clock.waits[0]).toBeLessThanOrEqual(LINK_LIMITS.reconnect.baseMs)
    expect(lines).toEqual([
      expect.objectContaining({ level: 'warn', fields: expect.objectContaining({ error_code: 'store_unavailable' }) }),
    ])
    control.greetWith({ type: 'welcome', items: [], seen: [] })
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await connected()
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

  test('a refusal says what the control plane said, in its log and as the first answer', async () => {
    const server = createHttpServer()
    const problem = {
      type: 'x',
      title: 'x',
      status: 403,
      detail: 'ops is for an operator.',
      code: 'forbidden',
      hint: '',
      retryable: false,
      request_id: 'r',
    }
    const body = JSON.stringify(problem)
    server.on('upgrade', (_request, socket) =>
      socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { lines, link } = startLink(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    expect(await link.accepted(5000)).toBe('ops is for an operator.')
    expect(lines).toMatchObject([{ level: 'error', fields: { error_code: 'forbidden', error: 'ops is for an operator.' } }])
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
