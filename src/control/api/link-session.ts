// One connection of one agent, from hello to its end.
//
// connected -> (hello, in time) -> open -> closed. Open means: the store knows this session under an epoch, everything it writes is
// fenced by that epoch, and the node is shown as connected. Silence ends it, in either direction; so does a newer session of the
// same node, which the store finds out by the epoch. Its end fails its open requests and tells the store, once.
import { durationText } from '../../base/duration-text.ts'
import { ok, type Result } from '../../base/result.ts'
import { WIRE_STATE, type Wire } from '../../base/wire.ts'
import type { Desired, FromAgent, FromControl, NodeUsage } from '../../contracts/agent-protocol.ts'
import type { Blocked } from '../../contracts/blocked.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Collected } from '../../contracts/garbage.ts'
import { type InstanceId, type NodeId, newId } from '../../contracts/ids.ts'
import type { Actor } from '../model/actor.ts'
import type { Heartbeat } from '../store/session-fold.ts'
import type { CoreDeps } from './deps.ts'
import { recordCollected } from './link-collected.ts'
import { createInbox, type Inbox } from './link-inbox.ts'
import { createObservedWriter, type ObservedWriter } from './link-observed.ts'
import { RequestTable } from './link-requests.ts'
import { type ReadOrder, WishOrder } from './wish-order.ts'

export const LINK_ACTOR: Actor = 'system:link'

export interface Session {
  readonly nodeId: NodeId
  readonly epoch: number
  readonly requests: RequestTable
  /** When something was last heard, on the monotonic clock. */
  heardMs(): number
  /** What the agent said last of these, which a store that takes no records does not know. */
  readonly said: Said
  /** Tells the agent of changed wishes. Before its welcome they are kept back: the welcome may be older than they are. */
  push(items: readonly Desired[], readAt: number): void
  /** Sends the whole desired set. */
  resync(): Promise<void>
  /** Stores deletions, and tells the agent which are. */
  collected(items: readonly Collected[]): void
  /** Cuts the connection; the agent comes again and says hello. */
  drop(): void
}

export interface Said {
  /** Of the node; undefined before the first heartbeat. */
  usage: NodeUsage | undefined
  /** Of each instance that is blocked. */
  readonly blocked: Map<InstanceId, Blocked>
}

export interface SessionHub {
  readonly reads: ReadOrder
  onOpen(session: Session): void
  onBeat(beat: Heartbeat): void
  onClose(session: Session): void
}

/** How long an agent may take to answer a close. */
const CLOSE_GRACE_MS = 1000

type Hello = Extract<FromAgent, { type: 'hello' }>

/** Resolves when the connection has ended and the store knows. */
export async function runSession(deps: CoreDeps, hub: SessionHub, socket: Wire, closing: AbortSignal): Promise<void> {
  const ended = new AbortController()
  let heardMs = deps.clock.elapsedMs()
  const heard = () => {
    heardMs = deps.clock.elapsedMs()
  }
  const incoming = createInbox(socket, heard)
  const end = () => ended.abort()
  socket.on('close', end)
  // `close` follows; without a listener an error would end the process.
  socket.on('error', (error) => deps.log.debug('agent connection failed', { error: error.message }))
  socket.on('pong', heard)
  const stopClosing = () => {
    socket.close(1001, 'shutting down')
    deps.clock.after(CLOSE_GRACE_MS, () => socket.terminate())
  }
  closing.addEventListener('abort', stopClosing, { once: true })
  const stopWatch = watchSilence(deps, socket, () => heardMs)
  try {
    const hello = await firstHello(deps, incoming, ended.signal)
    if (!hello.ok) return refuse(socket, hello.error)
    await runOpen(deps, hub, socket, incoming, hello.value, ended.signal, () => heardMs)
  } finally {
    stopWatch()
    closing.removeEventListener('abort', stopClosing)
    if (socket.readyState !== WIRE_STATE.closed) socket.terminate()
  }
}

async function runOpen(
  deps: CoreDeps,
  hub: SessionHub,
  socket: Wire,
  incoming: Inbox,
  hello: Hello,
  ended: AbortSignal,
  heardMs: () => number,
): Promise<void> {
  const { store, log } = deps
  const { nodeId, bootId, facts, usage } = hello
  const opened = await store.write(LINK_ACTOR, (tx) => tx.openSession({ nodeId, bootId, facts, usage, replica: store.replica }))
  if (!opened.ok) {
    log.warn('agent refused', { node_id: nodeId, error_code: opened.error.code, error: opened.error.detail })
    return refuse(socket, opened.error)
  }
  const { epoch } = opened.value
  const session = new OpenSession(deps, hub.reads, socket, nodeId, epoch, heardMs)
  const writer = writerOf(deps, socket, session, ended)
  log.info('agent connected', { node_id: nodeId, epoch, agent_version: facts.agentVersion, instances: hello.instances.length })
  hub.onOpen(session)
  try {
    // An agent without its desired set would wait for ever: better to end, and let it come again.
    if (!(await session.welcome())) return
    for await (const message of incoming.messages(ended)) {
      const refused = await dispatch(message, { session, writer, hub })
      if (!refused) continue
      log.warn('agent message refused', { node_id: nodeId, error: refused.detail })
      return refuse(socket, refused)
    }
  } finally {
    hub.onClose(session)
    session.requests.fail(failure('node_unreachable', `The connection to ${nodeId} ended.`, { node_id: nodeId }))
    await Promise.all([writer.idle(), session.idle()])
    const closed = await store.write(LINK_ACTOR, (tx) => tx.closeSession(nodeId, epoch))
    log.info('agent disconnected', { node_id: nodeId, epoch, ...(!closed.ok && { error_code: closed.error.code }) })
  }
}

class OpenSession implements Session {
  readonly nodeId: NodeId
  readonly epoch: number
  readonly requests: RequestTable
  readonly heardMs: () => number
  readonly said: Said = { usage: undefined, blocked: new Map() }
  readonly #deps: CoreDeps
  readonly #socket: Wire
  #welcomed = false
  #missed = false
  #storing: Promise<void> | null = null
  readonly #reads: ReadOrder
  readonly #order = new WishOrder()

  constructor(deps: CoreDeps, reads: ReadOrder, socket: Wire, nodeId: NodeId, epoch: number, heardMs: () => number) {
    this.#deps = deps
    this.#reads = reads
    this.#socket = socket
    this.nodeId = nodeId
    this.epoch = epoch
    this.heardMs = heardMs
    this.requests = new RequestTable({
      newRequestId: () => newId.request(deps.random),
      send: (message) => this.send(message),
      windowBytes: deps.limits.outputWindowBytes,
      openMax: deps.limits.linkRequestsMax,
      streamsMax: deps.limits.linkStreamsMax,
    })
  }

  /** False when the connection is gone or its buffer is full. */
  send(message: FromControl): boolean {
    if (this.#socket.readyState !== WIRE_STATE.open) return false
    // Nobody says these again, and they are few: without its credit a request would stand still for ever.
    const once = message.type === 'credit' || message.type === 'cancel'
    if (!once && this.#socket.bufferedAmount > this.#deps.limits.linkSendBufferBytesMax) return false
    this.#socket.send(JSON.stringify(message))
    return true
  }

  async welcome(): Promise<boolean> {
    if (!(await this.#sendSet('welcome'))) return false
    this.#welcomed = true
    if (this.#missed) await this.resync()
    return true
  }

  push(items: readonly Desired[], readAt: number): void {
    if (!this.#welcomed) {
      this.#missed = true
      return
    }
    const fresh = this.#order.part(items, readAt)
    if (fresh.length > 0) this.send({ type: 'desired', items: [...fresh] })
  }

  async resync(): Promise<void> {
    if (this.#welcomed) await this.#sendSet('desired')
  }

  /** Not waited for: what the store does not take is told again. Twice at once would only wait for each other. */
  collected(items: readonly Collected[]): void {
    if (this.#storing !== null) return
    this.#storing = recordCollected(this.#deps, this.nodeId, items)
      .then((keys) => void (keys.length > 0 && this.send({ type: 'collected', keys: [...keys] })))
      .catch((error: unknown) => this.#deps.log.error('collected resources not stored', { node_id: this.nodeId, error: String(error) }))
      .finally(() => {
        this.#storing = null
      })
  }

  /** Resolves when nothing is being stored. */
  idle(): Promise<void> {
    return this.#storing ?? Promise.resolve()
  }

  drop(): void {
    this.#socket.terminate()
  }

  async #sendSet(type: 'welcome' | 'desired'): Promise<boolean> {
    const readAt = this.#reads.begin()
    const set = await this.#deps.store.read.desiredOfNode(this.nodeId)
    if (!set.ok) {
      this.#deps.log.warn('desired state not read', { node_id: this.nodeId, error_code: set.error.code })
      return false
    }
    const wishes = set.value.map((one) => one.desired)
    const fresh = this.#order.whole(wishes, readAt)
    // A newer set was said meanwhile.
    if (!fresh) return true
    const items = [...fresh]
    const seen = set.value.map((one) => ({ id: one.desired.id, seq: one.seq }))
    return this.send(type === 'welcome' ? { type, items, seen } : { type, items })
  }
}

function writerOf(deps: CoreDeps, socket: Wire, session: OpenSession, signal: AbortSignal): ObservedWriter {
  const { store, clock, limits, log } = deps
  const { nodeId, epoch } = session
  return createObservedWriter({
    write: (items) => store.write(LINK_ACTOR, (tx) => tx.recordObserved(nodeId, epoch, items)),
    ack: (items) => void session.send({ type: 'ack', items: [...items] }),
    // Another agent, or nobody (it was given up as silent): hello finds out which.
    onFenced: (why) => {
      log.warn('agent session superseded', { node_id: nodeId, epoch, error_code: why.code })
      socket.terminate()
    },
    onRetry: (why) => log.warn('observations wait for the store', { node_id: nodeId, error_code: why.code }),
    clock,
    signal,
    batchMax: limits.observedBatchMax,
    queueMax: limits.observedQueueMax,
    retryMs: limits.linkRetryMs,
  })
}

interface Parts {
  readonly session: Session
  readonly writer: ObservedWriter
  readonly hub: SessionHub
}

async function dispatch(parsed: Result<FromAgent, Failure>, { session, writer, hub }: Parts): Promise<Failure | undefined> {
  if (!parsed.ok) return parsed.error
  const message = parsed.value
  switch (message.type) {
    case 'hello':
      return failure('invalid_input', 'The agent said hello twice.')
    case 'observed':
      for (const { id, blocked } of message.items) {
        if (blocked) session.said.blocked.set(id, blocked)
        else session.said.blocked.delete(id)
      }
      await writer.add(message.items)
      return undefined
    case 'heartbeat':
      session.said.usage = message.usage
      hub.onBeat({ nodeId: session.nodeId, epoch: session.epoch, usage: message.usage, facts: message.facts })
      return undefined
    case 'collected':
      session.collected(message.items)
      return undefined
    case 'chunk':
    case 'reply':
      return session.requests.take(message)
    default:
      return message satisfies never
  }
}

async function firstHello(deps: CoreDeps, incoming: Inbox, ended: AbortSignal): Promise<Result<Hello, Failure>> {
  const late = new AbortController()
  const cancel = deps.clock.after(deps.limits.linkHelloMs, () => late.abort())
  try {
    for await (const message of incoming.messages(AbortSignal.any([ended, late.signal]))) {
      if (!message.ok) return message
      if (message.value.type !== 'hello')
        return { ok: false, error: failure('invalid_input', `The first message of an agent is hello, not ${message.value.type}.`) }
      return ok(message.value)
    }
    return { ok: false, error: failure('wait_timeout', `No hello within ${durationText(deps.limits.linkHelloMs)}.`) }
  } finally {
    cancel()
  }
}

function refuse(socket: Wire, given: Failure): void {
  if (socket.readyState !== WIRE_STATE.open) return
  const error = { code: given.code, detail: given.detail, ...(given.fields && { fields: toWire(given.fields) }) }
  socket.send(JSON.stringify({ type: 'refused', error } satisfies FromControl))
  socket.close(1008, given.code)
}

const toWire = (fields: NonNullable<Failure['fields']>) =>
  Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, typeof value === 'object' ? [...value] : value]))

/** Pings, and ends a connection from which nothing has come for too long: a half-open one tells nobody by itself. */
function watchSilence(deps: CoreDeps, socket: Wire, heardMs: () => number): () => void {
  const { clock, limits } = deps
  let cancel = () => {}
  const look = () => {
    if (socket.readyState !== WIRE_STATE.open) return
    if (clock.elapsedMs() - heardMs() >= limits.linkSilenceMs) {
      deps.log.warn('agent is silent', { silent_ms: Math.round(clock.elapsedMs() - heardMs()) })
      return socket.terminate()
    }
    socket.ping()
    cancel = clock.after(limits.linkPingMs, look)
  }
  cancel = clock.after(limits.linkPingMs, look)
  return () => cancel()
}
