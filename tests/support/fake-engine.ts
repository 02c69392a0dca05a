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
  const engine = new Fake(join(await tmpDir(), 'e.sock'))
  engine.on('GET /_ping', (_, response) => {
    response.writeHead(200, { 'api-version': apiVersion })
    response.end('OK')
  })
  await engine.open()
  onTestFinished(() => engine.close())
  return engine
}

const withoutVersion = (url = '') => url.split('?')[0]?.replace(/^\/v\d+\.\d+/, '') ?? ''

class Fake implements FakeEngine {
  readonly socketPath: string
  readonly requests: string[] = []
  readonly #routes: { readonly route: string; readonly handler: Handler }[] = []
  readonly #sockets = new Set<Socket>()
  #hanging = false
  #upgrade: ((socket: Duplex) => void) | undefined
  #server: Server | undefined

  constructor(socketPath: string) {
    this.socketPath = socketPath
  }

  on(route: string, handler: Handler): void {
    this.#routes.push({ route, handler })
  }
  onUpgrade(handler: (socket: Duplex) => void): void {
    this.#upgrade = handler
  }
  hang(on: boolean): void {
    this.#hanging = on
  }

  async die(socketFile: 'removed' | 'left'): Promise<void> {
    await this.close()
    // Closing a server removes its socket file; a killed daemon leaves it, and then connecting is refused.
    if (socketFile === 'removed') return
    const dead = createServer()
    await new Promise<void>((resolve) => dead.listen(this.socketPath, resolve))
    await abandon(dead)
  }
  async revive(): Promise<void> {
    rmSync(this.socketPath, { force: true })
    await this.open()
  }

  async open(): Promise<void> {
    const server = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => {
        body += chunk.toString('latin1')
      })
      request.on('end', () => this.#answer(request, response, body))
    })
    server.on('upgrade', (request, socket) => this.#takeOver(request, socket))
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#server = server
    await new Promise<void>((resolve) => server.listen(this.socketPath, resolve))
  }
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server?.close(() => resolve()))
  }

  #answer(request: IncomingMessage, response: ServerResponse, body: string): void {
    const key = `${request.method} ${withoutVersion(request.url)}`
    this.requests.push(key)
    if (this.#hanging) return
    const found = this.#routes.findLast(({ route }) => (route.endsWith('*') ? key.startsWith(route.slice(0, -1)) : key === route))
    const handler = found?.handler ?? json(404, { message: `no route ${key}` })
    handler(request, response, body)
  }
  #takeOver(request: IncomingMessage, socket: Duplex): void {
    this.requests.push(`UPGRADE ${withoutVersion(request.url)}`)
    socket.on('error', () => undefined)
    if (this.#hanging) return
    if (!this.#upgrade) return void socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
    this.#upgrade(socket)
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
