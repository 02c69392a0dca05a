// The WebSocket below a session: how it is dialled, and how it is written to without hoarding.
import { WebSocket } from 'ws'
import { type FromAgent, LINK_MESSAGE_BYTES_MAX, LINK_PATH } from '../../contracts/agent-protocol.ts'
import type { Outlet } from './answers.ts'

export function dial(controlUrl: string, token: string): WebSocket {
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

export function createOutlet(socket: WebSocket): SocketOutlet {
  let flushes = 0
  let waiters: { readonly bytes: number; readonly resolve: () => void }[] = []
  const wake = () => {
    const buffered = socket.readyState === WebSocket.OPEN ? socket.bufferedAmount : 0
    const ready = waiters.filter((waiter) => buffered < waiter.bytes)
    waiters = waiters.filter((waiter) => buffered >= waiter.bytes)
    for (const { resolve } of ready) resolve()
  }
  return {
    send(message: FromAgent) {
      // A send that fails is a connection that ends; its end is told by `close`.
      if (socket.readyState !== WebSocket.OPEN) return
      socket.send(JSON.stringify(message), () => {
        flushes += 1
        wake()
      })
    },
    bufferedBytes: () => socket.bufferedAmount,
    below: (bytes) =>
      new Promise((resolve) => {
        waiters.push({ bytes, resolve })
        wake()
      }),
    flushes: () => flushes,
    closed: wake,
  }
}

/** The errno says it best; a refused connection to two addresses is an AggregateError whose message is empty. */
export const socketFault = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : error.message || error.name
