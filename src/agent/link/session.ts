// One connection to the control plane, from dialling to its end. Modes, forward only:
//   dialling  -> hello sent on open -> welcomed -> ended
// Before the welcome nothing but hello is sent. A connection is ended by: the welcome not coming in time, a refusal, silence over
// several heartbeats (a half-open connection looks idle, not closed), the other side, or us. It ends exactly once, and then
// every request of it has been aborted.
import type { Clock } from '../../base/clock.ts'
import { durationText } from '../../base/duration-text.ts'
import type { Logger } from '../../base/log.ts'
import { WIRE_STATE, type Wire } from '../../base/wire.ts'
import type { Desired, FromAgent, FromControl, NodeFacts, NodeUsage, Observed } from '../../contracts/agent-protocol.ts'
import { ERRORS, type ErrorCode } from '../../contracts/errors.ts'
import type { Collected } from '../../contracts/garbage.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import { Problem } from '../../contracts/views.ts'
import { type Answers, createAnswers, type OnRequest } from './answers.ts'
import type { LINK_LIMITS } from './limits.ts'
import { parseFromControl } from './parse.ts'
import { createOutlet, type Dial, type SocketOutlet, socketFault } from './socket.ts'

export interface Acked {
  readonly id: InstanceId
  readonly seq: number
}

export type Hello = Omit<Extract<FromAgent, { type: 'hello' }>, 'type' | 'protocol'>

export interface SessionDeps {
  /** http(s) address of the control plane. */
  readonly controlUrl: string
  readonly token: string
  readonly dial: Dial
  readonly clock: Clock
  readonly log: Logger
  readonly limits: typeof LINK_LIMITS
  readonly protocol: number
  /** Null = it cannot say who it is: the connection is given up, and dialled again. */
  hello(): Hello | null
  /** Null = nothing is known: the heartbeat goes without it. */
  usage(): NodeUsage | null
  onWelcome(items: readonly Desired[], seen: readonly Acked[]): void
  onDesired(items: readonly Desired[]): void
  onAck(items: readonly Acked[]): void
  onCollected(keys: readonly string[]): void
  readonly onRequest: OnRequest
  /** True after the welcome was handed over; false when the welcomed connection is gone. */
  onConnected(connected: boolean): void
}

interface Cause {
  readonly kind: 'lost' | 'refused' | 'closed'
  readonly code: ErrorCode
  readonly detail: string
}

export interface SessionEnd extends Cause {
  /** How long it was welcomed. */
  readonly lastedMs: number
}

/** Of one message; a control plane much newer than this agent must not flood its log. */
const DROPS_TOLD = 3

const REFUSAL_LENGTH_MAX = 65_536

/** The sentence of a refusal; undefined when the answer is not one of ours. */
function detailOf(body: string): string | undefined {
  try {
    return Problem.parse(JSON.parse(body)).detail
  } catch {
    return undefined
  }
}

/** Dials when made. Handlers of `deps` must not throw. */
export class Session {
  readonly ended: Promise<SessionEnd>
  readonly #deps: SessionDeps
  readonly #socket: Wire
  readonly #outlet: SocketOutlet
  readonly #answers: Answers
  readonly #settle: (end: SessionEnd) => void
  #cause: Cause | null = null
  #welcomedAtMs: number | null = null
  #silentHeartbeats = 0
  #backlog: { readonly deep: boolean; readonly flushes: number } = { deep: false, flushes: 0 }
  /** Of the one timer: first for the welcome, then for the next heartbeat. */
  #cancelTimer: () => void

  constructor(deps: SessionDeps) {
    const { clock, limits } = deps
    const { promise, resolve } = Promise.withResolvers<SessionEnd>()
    this.ended = promise
    this.#settle = resolve
    this.#deps = deps
    this.#socket = deps.dial(deps.controlUrl, deps.token)
    this.#outlet = createOutlet(this.#socket, limits.chunksBelowBytes)
    this.#answers = createAnswers(this.#outlet, deps.onRequest, limits, deps.log)
    this.#cancelTimer = clock.after(limits.welcomeDeadlineMs, () =>
      this.#lose(`no welcome within ${durationText(limits.welcomeDeadlineMs)}`),
    )
    this.#listen()
  }

  get welcomed(): boolean {
    return this.#welcomedAtMs !== null && this.#socket.readyState === WIRE_STATE.open
  }

  /** False = not sent: not welcomed, or too much is buffered already. */
  send(message: FromAgent): boolean {
    if (!this.welcomed || this.#socket.bufferedAmount > this.#deps.limits.observedBytesMax) return false
    this.#outlet.send(message)
    return true
  }

  sendObserved(items: readonly Observed[]): boolean {
    return this.send({ type: 'observed', items: [...items] })
  }

  sendCollected(items: readonly Collected[]): boolean {
    return this.send({ type: 'collected', items: [...items] })
  }

  sendFacts(facts: NodeFacts): boolean {
    const usage = this.#deps.usage()
    return usage !== null && this.send({ type: 'heartbeat', usage, facts })
  }

  /** Hangs up; resolves when the socket is closed and its requests have ended, or after a deadline. */
  async close(): Promise<void> {
    const { clock, limits } = this.#deps
    this.#cause ??= { kind: 'closed', code: 'shutting_down', detail: 'closed' }
    if (this.#socket.readyState === WIRE_STATE.open) this.#socket.close(1001)
    else this.#socket.terminate()
    const late = Promise.withResolvers<void>()
    const cancel = clock.after(limits.closeDeadlineMs, () => {
      this.#socket.terminate()
      late.resolve()
    })
    await this.ended
    await Promise.race([this.#answers.end(new Error('the agent is closing')), late.promise])
    cancel()
  }

  #listen(): void {
    const { deps, socket } = { deps: this.#deps, socket: this.#socket }
    socket.on('open', () => {
      const hello = deps.hello()
      if (hello === null) this.#lose('this agent could not say hello')
      else this.#outlet.send({ type: 'hello', protocol: deps.protocol, ...hello })
    })
    socket.on('message', (data) => this.#onMessage(data))
    socket.on('pong', () => {
      this.#silentHeartbeats = 0
    })
    socket.on('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0
      let body = ''
      const done = () => {
        const detail = detailOf(body) ?? `the control plane answered ${status}`
        if (status === 401 || status === 403) this.#end({ kind: 'refused', code: status === 401 ? 'unauthenticated' : 'forbidden', detail })
        else this.#lose(detail)
      }
      response.on('data', (chunk) => {
        body += Buffer.from(chunk).toString()
        if (body.length > REFUSAL_LENGTH_MAX) done()
      })
      response.on('error', done)
      response.on('end', done)
    })
    socket.on('error', (error) => {
      this.#cause ??= { kind: 'lost', code: 'control_unreachable', detail: socketFault(error) }
    })
    socket.on('close', (code) => this.#onClose(code))
  }

  #lose(detail: string): void {
    this.#end({ kind: 'lost', code: 'control_unreachable', detail })
  }

  #end(cause: Cause): void {
    this.#cause ??= cause
    this.#socket.terminate()
  }

  #onClose(code: number): void {
    this.#cancelTimer()
    this.#outlet.closed()
    // Not waited for: a request that ignores its signal must not keep the agent from dialling again.
    void this.#answers.end(new Error('the connection to the control plane is gone'))
    const cause = this.#cause ?? { kind: 'lost', code: 'control_unreachable', detail: `closed by the control plane (${code})` }
    if (this.#welcomedAtMs !== null) this.#deps.onConnected(false)
    const lastedMs = this.#welcomedAtMs === null ? 0 : this.#deps.clock.elapsedMs() - this.#welcomedAtMs
    this.#settle({ ...cause, lastedMs })
  }

  #heartbeat(): void {
    const { clock, limits, usage } = this.#deps
    // A ping waits behind everything buffered before it: while a backlog moves, the other side lives.
    const flushes = this.#outlet.flushes()
    const moving = this.#backlog.deep && flushes > this.#backlog.flushes
    this.#backlog = { deep: this.#socket.bufferedAmount > limits.backlogAboveBytes, flushes }
    // Counted in heartbeats, not in time: an agent that was itself asleep must not take that for silence of the other side.
    this.#silentHeartbeats = moving ? 0 : this.#silentHeartbeats + 1
    if (this.#silentHeartbeats > limits.silentHeartbeatsMax) {
      this.#lose(`silent for ${limits.silentHeartbeatsMax} heartbeats`)
      return
    }
    this.#socket.ping()
    const now = usage()
    if (now !== null) this.send({ type: 'heartbeat', usage: now, facts: null })
    this.#cancelTimer = clock.after(limits.heartbeatMs, () => this.#heartbeat())
  }

  #onMessage(data: unknown): void {
    this.#silentHeartbeats = 0
    const { message, dropped } = parseFromControl(String(data))
    for (const what of dropped.slice(0, DROPS_TOLD)) this.#deps.log.warn('message from control not understood', { what })
    if (message && !this.#cause) this.#dispatch(message)
  }

  #dispatch(message: FromControl): void {
    const deps = this.#deps
    switch (message.type) {
      case 'welcome':
        this.#onWelcome(message.items, message.seen)
        break
      case 'refused':
        this.#onRefused(message.error)
        break
      case 'desired':
        deps.onDesired(message.items)
        break
      case 'ack':
        deps.onAck(message.items)
        break
      case 'collected':
        deps.onCollected(message.keys)
        break
      case 'request':
        this.#answers.begin(message.requestId, message.request, message.windowBytes)
        break
      case 'credit':
        this.#answers.credit(message.requestId, message.bytes)
        break
      case 'cancel':
        this.#answers.cancel(message.requestId)
        break
      default:
        message satisfies never
    }
  }

  /** A refusal that passes by itself, such as a store that restarts, is an outage like others. */
  #onRefused({ code, detail }: Pick<Cause, 'code' | 'detail'>): void {
    this.#end({ kind: ERRORS[code].retry === 'soon' ? 'lost' : 'refused', code, detail })
  }

  #onWelcome(items: readonly Desired[], seen: readonly Acked[]): void {
    const { clock, log, onWelcome, onConnected } = this.#deps
    if (this.#welcomedAtMs !== null) {
      log.warn('message from control not understood', { what: 'a second welcome' })
      return
    }
    this.#welcomedAtMs = clock.elapsedMs()
    this.#cancelTimer()
    onWelcome(items, seen)
    onConnected(true)
    this.#heartbeat()
  }
}
