// A TCP proxy that can be told to misbehave: to cut all connections and take no new ones, or to keep them and pass nothing on.
import { connect, createServer, type Server, type Socket } from 'node:net'

export type Mischief = 'none' | 'cut' | 'silent'

export class FaultProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #mischief: Mischief = 'none'

  constructor(to: { readonly host: string; readonly port: number }) {
    this.#server = createServer((near) => {
      if (this.#mischief === 'cut') return void near.destroy()
      const far = connect(to)
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
    })
  }

  /** The port it listens on. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, host, () => {
        const address = this.#server.address()
        resolve(typeof address === 'object' && address ? address.port : 0)
      })
    })
  }

  set(mischief: Mischief): void {
    const before = this.#mischief
    this.#mischief = mischief
    if (mischief === 'cut') for (const socket of this.#sockets) socket.destroy()
    for (const pair of this.#pairs) {
      if (mischief === 'silent') for (const socket of pair) socket.unpipe().pause()
      // What went silent is worth nothing afterwards: bytes are missing in the middle of it or an end was hidden.
      else if (before === 'silent') for (const socket of pair) socket.destroy()
    }
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
    await new Promise((done) => this.#server.close(done))
  }
}
