// The WebSocket below a session: how it is dialled, and how it is written to without hoarding.
import { WebSocket } from 'ws'
import { WIRE_STATE, type Wire } from '../../base/wire.ts'
import { type FromAgent, LINK_MESSAGE_BYTES_MAX, LINK_PATH } from '../../contracts/agent-protocol.ts'
import type { Outlet } from './answers.ts'

/** Begins to connect; never throws for what the other side may do. */
export type Dial = (controlUrl: string, token: string) => Wire

export const dial: Dial = (controlUrl, token) => {
  const url = new URL(LINK_PATH, controlUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return new WebSocket(url, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    maxPayload: LINK_MESSAGE_BYTES_MAX,
    followRedirects: false,
  })
}

export interface SocketOutlet extends Outlet {
  /** Messages handed to the kernel so far. */
  flushes(): number
  /** The socket is gone: nobody waits any longer. */
  closed(): void
}

/** What is sent in turn waits while `turnBelowBytes` are buffered: whatever else is said never waits behind more output than that. */
export function createOutlet(socket: Wire, turnBelowBytes: number): SocketOutlet {
  let flushes = 0
  const line: Turn[] = []
  const send = (message: FromAgent) => {
    // A send that fails is a connection that ends; its end is told by `close`.
    if (socket.readyState !== WIRE_STATE.open) return
    socket.send(JSON.stringify(message), () => {
      flushes += 1
      next()
    })
  }
  const next = () => {
    const gone = socket.readyState !== WIRE_STATE.open
    while (line.length > 0 && (gone || socket.bufferedAmount < turnBelowBytes)) line.shift()?.take()
  }
  return {
    send,
    sendInTurn: (message, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) return resolve()
        const leave = () => {
          line.splice(line.indexOf(turn), 1)
          resolve()
        }
        const turn: Turn = {
          take() {
            signal.removeEventListener('abort', leave)
            send(message)
            resolve()
          },
        }
        signal.addEventListener('abort', leave, { once: true })
        line.push(turn)
        next()
      }),
    flushes: () => flushes,
    closed: next,
  }
}

interface Turn {
  take(): void
}

/** The errno says it best; a refused connection to two addresses is an AggregateError whose message is empty. */
export const socketFault = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : error.message || error.name
