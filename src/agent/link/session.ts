// One connection to the control plane, from dialling to its end. Modes, forward only:
//   dialling  -> hello sent on open -> welcomed -> ended
// Before the welcome nothing but hello is sent. A connection is ended by: the welcome not coming in time, a refusal, silence over
// several heartbeats (a half-open connection looks idle, not closed), the other side, or us. It ends exactly once, and then
// every request of it has been aborted.
import { type RawData, WebSocket } from 'ws'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import {
  type Desired,
  type FromAgent,
  type FromControl,
  LINK_MESSAGE_BYTES_MAX,
  LINK_PATH,
  type NodeFacts,
  type NodeUsage,
  type Observed,
} from '../../contracts/agent-protocol.ts'
import type { ErrorCode } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { createAnswers, type OnRequest, type Outlet } from './answers.ts'
import type { LINK_LIMITS } from './limits.ts'
import { parseFromControl } from './parse.ts'

export interface Acked {
  readonly id: InstanceId
  readonly seq: number
}

export type Hello = Omit<Extract<FromAgent, { type: 'hello' }>, 'type' | 'protocol'>

export interface SessionDeps {
  readonly controlUrl: string
  readonly token: string
  readonly clock: Clock
  readonly log: Logger
  readonly limits: typeof LINK_LIMITS
  readonly protocol: number
  hello(): Hello
  usage(): NodeUsage
  onWelcome(items: readonly Desired[], seen: readonly Acked[]): void
  onDesired(items: readonly Desired[]): void
  onAck(items: readonly Acked[]): void
  onRequest: OnRequest
  onConnected(connected: boolean): void
}

export interface SessionEnd {
  readonly kind: 'lost' | 'refused' | 'closed'
  readonly code: ErrorCode
  readonly detail: string
  /** How long it was welcomed. */
  readonly lastedMs: number
}

export interface Session {
  readonly ended: Promise<SessionEnd>
  welcomed(): boolean
  sendObserved(items: readonly Observed[]): boolean
  sendFacts(facts: NodeFacts): boolean
  close(): Promise<void>
}

export function startSession(deps: SessionDeps): Session {
  const { clock, log, limits } = deps
  const socket = dial(deps)
  const outlet = createOutlet(socket)
  const answers = createAnswers(outlet, deps.onRequest, limits, log)
  const { promise: ended, resolve: settle } = Promise.withResolvers<SessionEnd>()
  let end: Omit<SessionEnd, 'lastedMs'> | null = null
  let welcomedAtMs: number | null = null
  let silentHeartbeats = 0
  let cancelTimer = clock.after(limits.welcomeDeadlineMs, () =>
    finish('lost', 'control_unreachable', `no welcome within ${limits.welcomeDeadlineMs} ms`),
  )

  const finish = (kind: SessionEnd['kind'], code: ErrorCode, detail: string) => {
    end ??= { kind, code, detail }
    socket.terminate()
  }
  let flushesSeen = 0
  let backlogged = false
  const heartbeat = () => {
    // A ping waits behind everything buffered before it: while a backlog moves, the other side lives.
    silentHeartbeats = backlogged && outlet.flushes() > flushesSeen ? 0 : silentHeartbeats + 1
    flushesSeen = outlet.flushes()
    backlogged = socket.bufferedAmount > limits.goOnBelowBytes
    // Counted in heartbeats, not in time: an agent that was itself asleep must not take that for silence of the other side.
    if (silentHeartbeats > limits.silentHeartbeatsMax)
      return finish('lost', 'control_unreachable', `silent for ${limits.silentHeartbeatsMax} heartbeats`)
    socket.ping()
    if (socket.bufferedAmount < limits.observedBytesMax) outlet.send({ type: 'heartbeat', usage: deps.usage(), facts: null })
    cancelTimer = clock.after(limits.heartbeatMs, heartbeat)
  }
  const onMessage = (data: RawData) => {
    silentHeartbeats = 0
    const { message, dropped } = parseFromControl(String(data))
    for (const what of dropped.slice(0, DROPS_TOLD)) log.warn('message from control not understood', { what })
    if (message && !end) dispatch(message)
  }
  const dispatch = (message: FromControl) => {
    switch (message.type) {
      case 'welcome': {
        if (welcomedAtMs !== null) return log.warn('message from control not understood', { what: 'a second welcome' })
        welcomedAtMs = clock.elapsedMs()
        cancelTimer()
        deps.onWelcome(message.items, message.seen)
        deps.onConnected(true)
        return heartbeat()
      }
      case 'refused':
        return finish('refused', message.error.code, message.error.detail)
      case 'desired':
        return deps.onDesired(message.items)
      case 'ack':
        return deps.onAck(message.items)
      case 'request':
        return answers.begin(message.requestId, message.request)
      case 'cancel':
        return answers.cancel(message.requestId)
      default:
        return message satisfies never
    }
  }

  socket.on('open', () => outlet.send({ type: 'hello', protocol: deps.protocol, ...deps.hello() }))
  socket.on('message', onMessage)
  socket.on('pong', () => {
    silentHeartbeats = 0
  })
  socket.on('unexpected-response', (_request, response) => {
    const status = response.statusCode ?? 0
    response.resume()
    if (status === 401 || status === 403)
      finish('refused', status === 401 ? 'unauthenticated' : 'forbidden', `the control plane answered ${status}`)
    else finish('lost', 'control_unreachable', `the control plane answered ${status}`)
  })
  socket.on('error', (error) => {
    end ??= { kind: 'lost', code: 'control_unreachable', detail: describe(error) }
  })
  socket.on('close', (code) => {
    cancelTimer()
    outlet.closed()
    const {
      kind,
      code: errorCode,
      detail,
    } = end ?? { kind: 'lost', code: 'control_unreachable', detail: `closed by the control plane (${code})` }
    // Not waited for: a request that ignores its signal must not keep the agent from dialling again.
    void answers.end(new Error('the connection to the control plane is gone'))
    if (welcomedAtMs !== null) deps.onConnected(false)
    settle({ kind, code: errorCode, detail, lastedMs: welcomedAtMs === null ? 0 : clock.elapsedMs() - welcomedAtMs })
  })

  const welcomed = () => welcomedAtMs !== null && socket.readyState === WebSocket.OPEN
  const sendIfWelcomed = (message: FromAgent) => {
    if (!welcomed() || socket.bufferedAmount > limits.observedBytesMax) return false
    outlet.send(message)
    return true
  }
  return {
    ended,
    welcomed,
    sendObserved: (items) => sendIfWelcomed({ type: 'observed', items: [...items] }),
    sendFacts: (facts) => sendIfWelcomed({ type: 'heartbeat', usage: deps.usage(), facts }),
    async close() {
      end ??= { kind: 'closed', code: 'shutting_down', detail: 'closed' }
      if (socket.readyState !== WebSocket.OPEN) socket.terminate()
      else socket.close(1001)
      const { promise: late, resolve } = Promise.withResolvers<void>()
      const cancel = clock.after(limits.closeDeadlineMs, () => {
        socket.terminate()
        resolve()
      })
      await ended
      await Promise.race([answers.end(new Error('the agent is closing')), late])
      cancel()
    },
  }
}

/** Of one message; a control plane much newer than this agent must not flood its log. */
const DROPS_TOLD = 3

function dial({ controlUrl, token }: SessionDeps): WebSocket {
  const url = new URL(LINK_PATH, controlUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return new WebSocket(url, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    maxPayload: LINK_MESSAGE_BYTES_MAX,
    followRedirects: false,
  })
}

function createOutlet(socket: WebSocket): Outlet & { closed(): void; flushes(): number } {
  let flushes = 0
  let waiters: { readonly bytes: number; readonly resolve: () => void }[] = []
  const wake = () => {
    const buffered = socket.readyState === WebSocket.OPEN ? socket.bufferedAmount : 0
    const ready = waiters.filter((waiter) => buffered < waiter.bytes)
    waiters = waiters.filter((waiter) => buffered >= waiter.bytes)
    for (const { resolve } of ready) resolve()
  }
  return {
    send(message) {
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
    closed: wake,
    flushes: () => flushes,
  }
}

/** The errno says it best; a refused connection to two addresses is an AggregateError whose message is empty. */
const describe = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : error.message || error.name)
