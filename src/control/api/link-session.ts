// One connection of one agent, from hello to its end.
//
// connected -> (hello, in time) -> open -> closed. Open means: the store knows this session under an epoch, everything it writes is
// fenced by that epoch, and the node is shown as connected. Silence ends it, in either direction; so does a newer session of the
// same node, which the store finds out by the epoch. Its end fails its open requests and tells the store, once.
import type WebSocket from 'ws'
import { ok, type Result } from '../../base/result.ts'
import { type Desired, FromAgent, type FromControl, PROTOCOL_VERSION } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { type NodeId, newId } from '../../contracts/ids.ts'
import type { Actor } from '../model/actor.ts'
import { closeSession, type Heartbeat, openSession } from '../store/nodes.ts'
import { recordObserved } from '../store/observed.ts'
import { desiredOfNode } from '../store/placement.ts'
import type { ApiDeps } from './deps.ts'
import { createObservedWriter } from './link-observed.ts'
import { createRequestTable, type RequestTable } from './link-requests.ts'

export const LINK_ACTOR: Actor = 'system:link'

export interface Session {
  readonly nodeId: NodeId
  readonly epoch: number
  readonly requests: RequestTable
  /** When something was last heard, on the monotonic clock. */
  heardMs(): number
  /** Tells the agent of changed wishes. Before its welcome they are kept back: the welcome may be older than they are. */
  push(items: readonly Desired[]): void
  /** Sends the whole desired set. */
  resync(): Promise<void>
  /** Cuts the connection; the agent comes again and says hello. */
  drop(): void
}

export interface SessionHub {
  onOpen(session: Session): void
  onBeat(beat: Heartbeat): void
  onClose(session: Session): void
}

/** How long an agent may take to answer a close. */
const CLOSE_GRACE_MS = 1000

type Hello = Extract<FromAgent, { type: 'hello' }>

/** Resolves when the connection has ended and the store knows. */
export async function runSession(deps: ApiDeps, hub: SessionHub, socket: WebSocket, closing: AbortSignal): Promise<void> {
  const ended = new AbortController()
  let heardMs = deps.clock.elapsedMs()
  const heard = () => {
    heardMs = deps.clock.elapsedMs()
  }
  const incoming = createInbox(socket, heard)
  const end = () => ended.abort()
  socket.once('close', end)
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
    if (socket.readyState !== socket.CLOSED) socket.terminate()
  }
}

async function runOpen(
  deps: ApiDeps,
  hub: SessionHub,
  socket: WebSocket,
  incoming: Inbox,
  hello: Hello,
  ended: AbortSignal,
  heardMs: () => number,
): Promise<void> {
  const { store, clock, limits, log } = deps
  const { nodeId, bootId, facts, usage } = hello
  const opened = await store.write(LINK_ACTOR, (tx) => openSession(tx, { nodeId, bootId, facts, usage, replica: store.replica }))
  if (!opened.ok) {
    log.warn('agent refused', { node_id: nodeId, error_code: opened.error.code, error: opened.error.detail })
    return refuse(socket, opened.error)
  }
  const { epoch } = opened.value
  const send = (message: FromControl): boolean => {
    if (socket.readyState !== socket.OPEN || socket.bufferedAmount > limits.linkSendBufferBytesMax) return false
    socket.send(JSON.stringify(message))
    return true
  }
  const requests = createRequestTable({
    newRequestId: () => newId.request(deps.random),
    send,
    bufferBytesMax: limits.outputBufferBytesMax,
    openMax: limits.linkRequestsMax,
  })
  const sendSet = async (type: 'welcome' | 'desired'): Promise<boolean> => {
    const set = await desiredOfNode(store.db, nodeId)
    if (!set.ok) {
      log.warn('desired state not read', { node_id: nodeId, error_code: set.error.code })
      return false
    }
    const items: Desired[] = set.value.map((one) => one.desired)
    const seen = set.value.map((one) => ({ id: one.desired.id, seq: one.seq }))
    return send(type === 'welcome' ? { type, items, seen } : { type, items })
  }
  let welcomed = false
  let missed = false
  const session: Session = {
    nodeId,
    epoch,
    requests,
    heardMs,
    push(items) {
      if (welcomed) send({ type: 'desired', items: [...items] })
      else missed = true
    },
    resync: async () => void (await sendSet('desired')),
    drop: () => socket.terminate(),
  }
  const writer = createObservedWriter({
    write: (items) => store.write(LINK_ACTOR, (tx) => recordObserved(tx, nodeId, epoch, items)),
    ack: (items) => void send({ type: 'ack', items: [...items] }),
    // Another agent, or nobody (it was given up as silent): hello finds out which.
    onFenced: (why) => {
      log.warn('agent session superseded', { node_id: nodeId, epoch, error_code: why.code })
      socket.terminate()
    },
    onRetry: (why) => log.warn('observations wait for the store', { node_id: nodeId, error_code: why.code }),
    clock,
    signal: ended,
    batchMax: limits.observedBatchMax,
    queueMax: limits.observedQueueMax,
    retryMs: limits.linkRetryMs,
  })
  log.info('agent connected', { node_id: nodeId, epoch, agent_version: facts.agentVersion, instances: hello.instances.length })
  hub.onOpen(session)
  try {
    // An agent without its desired set would wait for ever: better to end, and let it come again.
    if (!(await sendSet('welcome'))) return
    welcomed = true
    if (missed) await session.resync()
    for await (const message of incoming.messages(ended)) {
      const refused = await dispatch(message, { session, writer, hub })
      if (refused) {
        log.warn('agent message refused', { node_id: nodeId, error: refused.detail })
        return refuse(socket, refused)
      }
    }
  } finally {
    hub.onClose(session)
    requests.fail(failure('node_unreachable', `The connection to ${nodeId} ended.`, { node_id: nodeId }))
    await writer.idle()
    const closed = await store.write(LINK_ACTOR, (tx) => closeSession(tx, nodeId, epoch))
    log.info('agent disconnected', { node_id: nodeId, epoch, ...(!closed.ok && { error_code: closed.error.code }) })
  }
}

interface Parts {
  readonly session: Session
  readonly writer: ReturnType<typeof createObservedWriter>
  readonly hub: SessionHub
}

async function dispatch(parsed: Result<FromAgent, Failure>, { session, writer, hub }: Parts): Promise<Failure | undefined> {
  if (!parsed.ok) return parsed.error
  const message = parsed.value
  switch (message.type) {
    case 'hello':
      return failure('invalid_input', 'The agent said hello twice.')
    case 'observed':
      await writer.add(message.items)
      return undefined
    case 'heartbeat':
      hub.onBeat({ nodeId: session.nodeId, epoch: session.epoch, usage: message.usage, facts: message.facts })
      return undefined
    case 'chunk':
    case 'reply':
      session.requests.take(message)
      return undefined
    default:
      return message satisfies never
  }
}

async function firstHello(deps: ApiDeps, incoming: Inbox, ended: AbortSignal): Promise<Result<Hello, Failure>> {
  const late = new AbortController()
  const cancel = deps.clock.after(deps.limits.linkHelloMs, () => late.abort())
  try {
    for await (const message of incoming.messages(AbortSignal.any([ended, late.signal]))) {
      if (!message.ok) return message
      if (message.value.type !== 'hello')
        return { ok: false, error: failure('invalid_input', `The first message of an agent is hello, not ${message.value.type}.`) }
      if (message.value.protocol !== PROTOCOL_VERSION)
        return {
          ok: false,
          error: failure(
            'unsupported',
            `The agent speaks protocol ${message.value.protocol}, this control plane ${PROTOCOL_VERSION}; bring both to one version.`,
            { protocol: PROTOCOL_VERSION },
          ),
        }
      return ok(message.value)
    }
    return { ok: false, error: failure('wait_timeout', `No hello within ${deps.limits.linkHelloMs} ms.`) }
  } finally {
    cancel()
  }
}

function refuse(socket: WebSocket, given: Failure): void {
  if (socket.readyState !== socket.OPEN) return
  const error = { code: given.code, detail: given.detail, ...(given.fields && { fields: toWire(given.fields) }) }
  socket.send(JSON.stringify({ type: 'refused', error } satisfies FromControl))
  socket.close(1008, given.code)
}

const toWire = (fields: NonNullable<Failure['fields']>) =>
  Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, typeof value === 'object' ? [...value] : value]))

/** Pings, and ends a connection from which nothing has come for too long: a half-open one tells nobody by itself. */
function watchSilence(deps: ApiDeps, socket: WebSocket, heardMs: () => number): () => void {
  const { clock, limits } = deps
  let cancel = () => {}
  const look = () => {
    if (socket.readyState !== socket.OPEN) return
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

interface Inbox {
  /** Messages in order, one at a time, until aborted. May be called again to go on. */
  messages(signal: AbortSignal): AsyncGenerator<Result<FromAgent, Failure>>
}

/** Enough for bursts; the socket is not read while it is full. */
const INBOX_MAX = 1000

function createInbox(socket: WebSocket, heard: () => void): Inbox {
  const queue: string[] = []
  let wake = () => {}
  socket.on('message', (data, isBinary) => {
    heard()
    queue.push(isBinary ? '' : String(data))
    if (queue.length >= INBOX_MAX) socket.pause()
    wake()
  })
  return {
    async *messages(signal) {
      // One listener for all waits: one per wait would pile up over the life of a session.
      signal.addEventListener('abort', () => wake(), { once: true })
      for (;;) {
        while (queue.length === 0) {
          if (signal.aborted) return
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        const text = queue.shift() ?? ''
        if (queue.length === INBOX_MAX / 2) socket.resume()
        yield parseMessage(text)
      }
    },
  }
}

function parseMessage(text: string): Result<FromAgent, Failure> {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    return { ok: false, error: failure('invalid_input', 'A message of the agent is not JSON.') }
  }
  const parsed = FromAgent.safeParse(raw)
  if (parsed.success) return ok(parsed.data)
  const issue = parsed.error.issues[0]
  return {
    ok: false,
    error: failure(
      'invalid_input',
      `A message of the agent is not of this protocol: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
    ),
  }
}
