// A proxy for a TCP port or a unix socket that can be told to misbehave.
//
//  cut:    all connections are ended, and new ones at once.
//  silent: connections are kept and taken, and nothing is passed on; also no end of the other side.
//  absent: nobody listens any more. A socket's path is removed, as by `rm`, so the connections that there are live on; a port's end with it.
//  dead:   sockets only: all connections are ended, and the path leads to a socket that nobody listens on, as a killed daemon leaves it.
import { link, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Place } from './scenario.ts'

export type Mischief = 'none' | 'cut' | 'silent' | 'absent' | 'dead'

const UNHEARD: ReadonlySet<Mischief> = new Set(['absent', 'dead'])

export class FaultProxy {
  readonly #to: Place
  readonly #sockets = new Set<Socket>()
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #at: Place
  #server: Server | null = null
  #mischief: Mischief = 'none'

  constructor(at: Place, to: Place) {
    this.#at = at
    this.#to = to
  }

  /** The port it listens on; 0 for a socket. */
  async listen(): Promise<number> {
    const server = createServer((near) => this.#take(near))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ ...this.#at }, resolve)
    })
    this.#server = server
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    // Asked for any port, it comes back on the same one.
    if ('port' in this.#at) this.#at = { ...this.#at, port }
    return port
  }

  #take(near: Socket): void {
    if (this.#mischief === 'cut') return void near.destroy()
    const far = connect({ ...this.#to })
    const pair = [near, far] as const
    this.#pairs.add(pair)
    for (const socket of pair) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => {
        this.#sockets.delete(socket)
        this.#pairs.delete(pair)
        // In the silence neither side may hear of the other one's end.
        if (this.#mischief !== 'silent') for (const other of pair) other.destroy()
      })
    }
    this.#join(pair)
  }

  async set(mischief: Mischief): Promise<void> {
    const before = this.#mischief
    this.#mischief = mischief
    const endsAll = mischief === 'cut' || mischief === 'dead' || (mischief === 'absent' && 'port' in this.#at)
    if (endsAll) for (const socket of this.#sockets) socket.destroy()
    for (const pair of this.#pairs) {
      if (mischief === 'silent') for (const socket of pair) socket.unpipe().pause()
      // What went silent is worth nothing afterwards: bytes are missing in the middle of it or an end was hidden.
      else if (before === 'silent') for (const socket of pair) socket.destroy()
    }
    if (UNHEARD.has(mischief)) await this.#leave(mischief === 'dead')
    else if (UNHEARD.has(before)) {
      if ('path' in this.#at) await rm(this.#at.path, { force: true })
      await this.listen()
    }
  }

  /** Stops listening; connections are not its business. */
  async #leave(dead: boolean): Promise<void> {
    // Its path goes with it.
    this.#server?.close()
    this.#server = null
    if (!dead || !('path' in this.#at)) return
    const beside = `${this.#at.path}.dead`
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(beside, resolve))
    await link(beside, this.#at.path)
    await new Promise((done) => server.close(done))
  }

  #join([near, far]: readonly [Socket, Socket]): void {
    if (this.#mischief === 'silent') {
      near.pause()
      far.pause()
      return
    }
    near.pipe(far)
    far.pipe(near)
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((done) => (this.#server ? this.#server.close(() => done()) : done()))
    if ('path' in this.#at) await rm(this.#at.path, { force: true })
  }
}
