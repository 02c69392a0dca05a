// A Docker Engine made of a unix socket and whatever the test answers: for the faults that a real daemon shows only by chance.
import { renameSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { onTestFinished } from 'vitest'
import { tmpDir } from './tmp.ts'

export type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void

export interface FakeEngine {
  readonly socketPath: string
  /** `METHOD /path` of every request so far, without version and query. */
  readonly requests: readonly string[]
  /** From now on these routes answer so; the key is `METHOD /path`, a trailing `*` matches the rest. The newest match counts. */
  on(route: string, handler: Handler): void
  /** Takes over the connection of an upgrade (exec); without it upgrades are refused. */
  onUpgrade(handler: (socket: Duplex) => void): void
  /** Connections are accepted and nothing is ever answered, as by a stopped process. */
  hang(on: boolean): void
  /** Ends the daemon: connections reset, socket file gone or left behind. */
  die(socketFile: 'removed' | 'left'): Promise<void>
  revive(): Promise<void>
}

export const json =
  (status: number, value: unknown): Handler =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(value))
  }

export async function fakeEngine(apiVersion = '1.41'): Promise<FakeEngine> {
  const socketPath = join(await tmpDir(), 'e.sock')
  const routes: { readonly route: string; readonly handler: Handler }[] = []
  const requests: string[] = []
  const sockets = new Set<Socket>()
  let hanging = false
  let upgrade: ((socket: Duplex) => void) | undefined
  let server: Server

  const answer = (request: IncomingMessage, response: ServerResponse, body: string) => {
    const path = (request.url ?? '').split('?')[0]?.replace(/^\/v\d+\.\d+/, '')
    const key = `${request.method} ${path}`
    requests.push(key)
    if (hanging) return
    const found = routes.findLast(({ route }) => (route.endsWith('*') ? key.startsWith(route.slice(0, -1)) : key === route))
    if (found) return found.handler(request, response, body)
    json(404, { message: `no route ${key}` })(request, response, body)
  }
  const open = async () => {
    server = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => {
        body += chunk.toString('latin1')
      })
      request.on('end', () => answer(request, response, body))
    })
    server.on('upgrade', (request, socket) => {
      requests.push(`UPGRADE ${request.url?.replace(/^\/v\d+\.\d+/, '')}`)
      socket.on('error', () => undefined)
      if (hanging) return
      if (!upgrade) return void socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
      socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
      upgrade(socket)
    })
    server.on('connection', (socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  }
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  routes.push({
    route: 'GET /_ping',
    handler: (_, response) => {
      response.writeHead(200, { 'api-version': apiVersion })
      response.end('OK')
    },
  })
  await open()
  onTestFinished(close)
  return {
    socketPath,
    requests,
    on: (route, handler) => routes.push({ route, handler }),
    onUpgrade: (handler) => {
      upgrade = handler
    },
    hang: (on) => {
      hanging = on
    },
    async die(socketFile) {
      await close()
      // Closing a server removes its socket file; a killed daemon leaves it, and then connecting is refused.
      if (socketFile === 'left') {
        const dead = createServer()
        await new Promise<void>((resolve) => dead.listen(socketPath, resolve))
        await abandon(dead)
      }
    },
    async revive() {
      rmSync(socketPath, { force: true })
      await open()
    },
  }
}

/** Leaves the socket file of a server behind that no longer listens: the file is renamed while the server closes. */
async function abandon(server: Server): Promise<void> {
  const address = server.address()
  const path = typeof address === 'string' ? address : ''
  renameSync(path, `${path}.kept`)
  await new Promise<void>((resolve) => server.close(() => resolve()))
  renameSync(`${path}.kept`, path)
}
