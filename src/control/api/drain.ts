import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'

/** Connections of a server, and which of them have a request under way. Node counts one that never asked anything as busy. */
export class Connections {
  readonly #busy = new Map<Socket, number>()

  constructor(server: Server) {
    server.on('connection', (socket) => {
      this.#busy.set(socket, 0)
      socket.once('close', () => this.#busy.delete(socket))
    })
    server.on('request', (request, response) => {
      const { socket } = request
      this.#add(socket, 1)
      response.once('close', () => this.#add(socket, -1))
    })
  }

  /** Ends each connection as soon as its request has its answer, and at the latest after `forMs`. The returned function stops that. */
  drain(clock: Clock, forMs: number): () => void {
    const untilMs = clock.elapsedMs() + forMs
    let cancel = () => {}
    const look = () => {
      const late = clock.elapsedMs() >= untilMs
      for (const [socket, requests] of this.#busy) if (late || requests === 0) socket.destroy()
      cancel = clock.after(LOOK_MS, look)
    }
    look()
    return () => cancel()
  }

  #add(socket: Socket, by: number): void {
    const now = this.#busy.get(socket)
    if (now !== undefined) this.#busy.set(socket, now + by)
  }
}

const LOOK_MS = 20
