import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../../tests/support/wait.ts'
import { checkHttp, checkTcp, type HttpAsk } from './network.ts'

const ANY: HttpAsk = { path: '/', headers: {}, status: null }
const never = new AbortController().signal
const soon = () => AbortSignal.timeout(100)

async function listen(server: Server): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}
const web = (handle: RequestListener) => listen(createHttpServer(handle))
const raw = (reply: string | null) =>
  listen(
    createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => reply !== null && socket.end(reply))
    }),
  )

async function closedPort(): Promise<{ host: string; port: number }> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return { host: '127.0.0.1', port }
}

describe('tcp', () => {
  test('what accepts passes', async () => {
    expect(await checkTcp(await raw(null), never)).toMatchObject({ kind: 'pass' })
  })
  test('T08: what refuses is connection_refused', async () => {
    expect(await checkTcp(await closedPort(), never)).toMatchObject({ kind: 'fail', reason: 'connection_refused' })
  })
  test('an aborted check ends at once', async () => {
    expect(await checkTcp(await raw(null), AbortSignal.abort())).toMatchObject({ kind: 'fail', reason: 'timeout' })
  })
})

describe('http', () => {
  test.each([
    [200, null, true],
    [204, null, true],
    [302, null, true],
    [399, null, true],
    [400, null, false],
    [404, null, false],
    [500, null, false],
    [404, 404, true],
    [200, 404, false],
    [503, 503, true],
  ])('T08: status %i, wanted %j, passes: %j', async (status, wanted, good) => {
    const at = await web((_request, response) => response.writeHead(status, { location: '/elsewhere' }).end('body'))
    const found = await checkHttp(at, { ...ANY, status: wanted }, never)
    expect(found).toMatchObject(good ? { kind: 'pass' } : { kind: 'fail', reason: 'bad_status' })
    expect(found.detail).toContain(String(status))
  })

  test('path and headers are sent as declared, on a connection that is not kept; a redirect is not followed', async () => {
    const seen: { url: string | undefined; headers: Record<string, unknown> }[] = []
    const at = await web((request, response) => {
      seen.push({ url: request.url, headers: request.headers })
      response.writeHead(307, { location: '/away' }).end()
    })
    await checkHttp(at, { path: '/ready?full=1', headers: { Host: 'shop.example', 'X-Probe': 'yes' }, status: 307 }, never)
    expect(seen).toEqual([
      { url: '/ready?full=1', headers: expect.objectContaining({ host: 'shop.example', 'x-probe': 'yes', connection: 'close' }) },
    ])
  })

  test('T08: refused, not HTTP, hung up, accepted without an answer: each by its reason', async () => {
    expect(await checkHttp(await closedPort(), ANY, never)).toMatchObject({ reason: 'connection_refused' })
    expect(await checkHttp(await raw('SSH-2.0-OpenSSH_9.2\r\n'), ANY, never)).toMatchObject({ reason: 'bad_reply' })
    expect(await checkHttp(await raw(''), ANY, never)).toMatchObject({
      reason: 'connection_failed',
      detail: expect.stringContaining('ECONNRESET'),
    })
    expect(await checkHttp(await raw(null), ANY, soon())).toMatchObject({ reason: 'timeout' })
  })

  test('an endless header is refused, an endless body is not read', async () => {
    expect(await checkHttp(await raw(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`), ANY, never)).toMatchObject({
      kind: 'fail',
      reason: 'bad_reply',
    })
    let written = 0
    const at = await web((_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(65_536))) written += 1
      }
      response.on('drain', more)
      response.on('error', () => {})
      more()
    })
    expect(await checkHttp(at, ANY, never)).toMatchObject({ kind: 'pass' })
    expect(written).toBeLessThan(500)
  })

  test('an early 103 does not decide, an upgrade does', async () => {
    const early = await raw('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')
    expect(await checkHttp(early, ANY, never)).toMatchObject({ reason: 'bad_status', detail: expect.stringContaining('500') })
    const upgrade = await raw('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
    expect(await checkHttp(upgrade, ANY, never)).toMatchObject({ reason: 'bad_status' })
  })

  test('T09: a thousand checks leave no connection and no handle behind', async () => {
    const open = new Set<Socket>()
    const server = createHttpServer((_request, response) => response.end('ok'))
    server.on('connection', (socket: Socket) => {
      open.add(socket)
      socket.on('close', () => open.delete(socket))
    })
    const at = await listen(server)
    const hung = await raw(null)
    const handles = () => process.getActiveResourcesInfo().filter((kind) => kind.startsWith('TCP')).length
    const before = handles()
    for (let n = 0; n < 1000; n += 1) await checkHttp(at, ANY, never)
    for (let n = 0; n < 50; n += 1) await checkHttp(hung, ANY, AbortSignal.timeout(1))
    await waitFor(() => open.size === 0 && handles() <= before, { what: 'all connections are gone', deadlineMs: 5000 })
  })
})
