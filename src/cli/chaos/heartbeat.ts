// One connection to a workload. Each question is a fresh nonce, so an answer proves that this very process served just now.
import { connect, type Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'

const LINE_BYTES_MAX = 1024

/** Who answered: `life` is made anew at each start; `pid` as the workload sees itself, so 1 or so in a container. */
export interface Answer {
  readonly life: string
  readonly pid: number
}

export interface Heartbeat {
  /** Who answered the nonce; null: no or a wrong answer in time. */
  ask(nonce: string, timeoutMs: number): Promise<Answer | null>
  /** Aborts when the connection ends, whoever ended it. */
  readonly ended: AbortSignal
  close(): void
}

/** null: nobody takes the connection. */
export function dial(clock: Clock, port: number, timeoutMs: number): Promise<Heartbeat | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    const cancel = clock.after(timeoutMs, () => socket.destroy())
    socket.once('error', () => {})
    socket.once('close', () => {
      cancel()
      resolve(null)
    })
    socket.once('connect', () => {
      cancel()
      // Nobody listens there, and of all free ports this one was given to our own end: TCP then connects the socket to itself, which
      // would keep the port from the workload for as long as it stays.
      if (socket.localPort === port) socket.destroy()
      else resolve(heartbeat(clock, socket))
    })
  })
}

function heartbeat(clock: Clock, socket: Socket): Heartbeat {
  const ended = new AbortController()
  let waiting: ((line: string | null) => void) | null = null
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    const end = text.indexOf('\n')
    if (end < 0 && text.length < LINE_BYTES_MAX) return
    const line = end < 0 ? '' : text.slice(0, end)
    text = ''
    waiting?.(line)
  })
  socket.once('close', () => {
    ended.abort()
    waiting?.(null)
  })
  return {
    ended: ended.signal,
    close: () => socket.destroy(),
    ask: (nonce, timeoutMs) =>
      new Promise((resolve) => {
        if (socket.destroyed) return resolve(null)
        const done = (line: string | null) => {
          waiting = null
          cancel()
          const [echoed, life = '', pid = ''] = (line ?? '').split(' ')
          resolve(echoed === nonce && /^[1-9]\d*$/.test(pid) ? { life, pid: Number(pid) } : null)
        }
        const cancel = clock.after(timeoutMs, () => done(null))
        waiting = done
        socket.write(`${nonce}\n`)
      }),
  }
}

/** Gives a workload an order (`exit 3`, `eat 64`); what becomes of it is the oracle's to see. */
export function order(port: number, words: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => socket.end(`${words}\n`))
    socket.once('error', () => {})
    socket.once('close', () => resolve())
    socket.resume()
  })
}
