// The agents' side of the API: agents dial in over a WebSocket, control never dials a node. This file owns the open sessions:
// it lets agents in, passes wishes on to them when the store says that something changed, and their heartbeats to the store.
// Every push only shortens a wait: a resync of the whole set every half minute covers whatever was lost.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { err, type Result } from '../../base/result.ts'
import type { Wire } from '../../base/wire.ts'
import { type AgentRequest, LINK_MESSAGE_BYTES_MAX, LINK_PATH } from '../../contracts/agent-protocol.ts'
import { ERRORS, type Failure, failure } from '../../contracts/errors.ts'
import { type NodeId, newId } from '../../contracts/ids.ts'
import { type InstanceRecord, NOTHING_OBSERVED } from '../model/instance.ts'
import type { NodeRecord } from '../model/node.ts'
import type { Heartbeat } from '../store/session-fold.ts'
import type { Callers } from './caller.ts'
import type { CoreDeps } from './deps.ts'
import { createPusher } from './link-push.ts'
import type { Exchange } from './link-requests.ts'
import { runSession, type Session, type SessionHub } from './link-session.ts'
import { Outage } from './outage.ts'
import { PROBLEM_TYPE, problemOf } from './problem.ts'
import { withinStoreTime } from './store-time.ts'
import { ReadOrder } from './wish-order.ts'

export class Link {
  readonly #deps: CoreDeps
  readonly #callers: Callers
  readonly #wss = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LINK_MESSAGE_BYTES_MAX,
    clientTracking: false,
  })
  readonly #closing = new AbortController()
  readonly #reads = new ReadOrder()
  readonly #sessions = new Map<NodeId, Session>()
  readonly #running = new Set<Promise<void>>()
  readonly #beats = new Map<NodeId, Heartbeat>()
  readonly #stops: readonly (() => void)[]

  constructor(deps: CoreDeps, callers: Callers) {
    this.#deps = deps
    this.#callers = callers
    const pusher = createPusher(deps, this.#sessions, this.#reads)
    const outage = new Outage(deps.log, 'heartbeats wait for the store')
    this.#stops = [
      deps.store.listen(pusher.note),
      pusher.close,
      every(deps, deps.limits.linkHeartbeatWriteMs, () => writeBeats(deps, outage, this.#beats, this.#sessions)),
      every(deps, deps.limits.linkResyncMs, async () => {
        for (const session of [...this.#sessions.values()]) await session.resync()
      }),
    ]
  }

  get connected(): number {
    return this.#sessions.size
  }

  /** Seconds since the most silent agent was heard; 0 without agents. */
  oldestHeardSeconds(): number {
    const nowMs = this.#deps.clock.elapsedMs()
    return Math.max(0, ...[...this.#sessions.values()].map((session) => (nowMs - session.heardMs()) / 1000))
  }

  /** The record, with what its agent has said since and a store that takes no records does not know. */
  freshNode(node: NodeRecord): NodeRecord {
    const usage = this.#sessions.get(node.id)?.said.usage
    return usage === undefined ? node : { ...node, usage }
  }

  /** As `freshNode`: whether the instance waits for its node's disk. */
  freshInstance(row: InstanceRecord): InstanceRecord {
    const session = row.nodeId === null ? undefined : this.#sessions.get(row.nodeId)
    if (!session) return row
    const { blocked: _old, ...rest } = row.observed ?? NOTHING_OBSERVED
    const blocked = session.said.blocked.get(row.id)
    if (!blocked) return row.observed?.blocked ? { ...row, observed: rest } : row
    return { ...row, observed: { ...rest, blocked } }
  }

  /** Asks the agent of a node; `node_unreachable` when it is not connected here. */
  request(nodeId: NodeId, request: AgentRequest): Result<Exchange, Failure> {
    const session = this.#sessions.get(nodeId)
    if (!session) return err(failure('node_unreachable', `The agent of ${nodeId} is not connected.`, { node_id: nodeId }))
    return session.requests.open(request)
  }

  /** For the server's `upgrade` event. */
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Until ws takes over nobody else listens: an unheard error would end the process.
    const onError = () => socket.destroy()
    socket.on('error', onError)
    void this.#admit(request).then(
      (refused) => {
        if (socket.destroyed) return
        if (refused) return refuseUpgrade(this.#deps, socket, refused)
        socket.off('error', onError)
        this.#wss.handleUpgrade(request, socket, head, (connected) => this.serve(connected, request.headers.authorization))
      },
      (error: unknown) => {
        this.#deps.log.error('agent not admitted', { error: textOf(error) })
        socket.destroy()
      },
    )
  }

  /** Serves an agent that was let in, until its connection ends. */
  serve(socket: Wire, authorization: string | undefined): void {
    const stopWatch = this.#callers.watch(authorization, () => socket.terminate())
    const session = runSession(this.#deps, this.#hub, socket, this.#closing.signal)
      .catch((error: unknown) => this.#deps.log.error('agent session failed', { error: textOf(error) }))
      .finally(() => {
        stopWatch()
        this.#running.delete(session)
      })
    this.#running.add(session)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const stop of this.#stops) stop()
    await Promise.all(this.#running)
    this.#wss.close()
  }

  async #admit(request: IncomingMessage): Promise<Failure | undefined> {
    const path = request.url?.split('?', 1)[0]
    if (path !== LINK_PATH) return failure('not_found', `There is no WebSocket at ${path}.`)
    if (this.#closing.signal.aborted) return failure('shutting_down', 'The control plane is shutting down.')
    if (this.#running.size >= this.#deps.limits.linkSessionsMax)
      return failure('shutting_down', `${this.#running.size} agents are connected, which is the limit.`)
    const caller = await withinStoreTime(this.#deps, this.#callers.identify(request.headers.authorization), false)
    if (!caller.ok) return caller.error
    const { role, name } = caller.value.token
    return role === 'agent' ? undefined : failure('forbidden', `The agent link needs an agent token; ${name} is for a ${role}.`, { role })
  }

  readonly #hub: SessionHub = {
    reads: this.#reads,
    onOpen: (session) => {
      // The same agent again, before its old connection was found dead.
      this.#sessions.get(session.nodeId)?.drop()
      this.#sessions.set(session.nodeId, session)
    },
    onBeat: (beat) => void this.#beats.set(beat.nodeId, beat),
    onClose: (session) => {
      if (this.#sessions.get(session.nodeId) === session) this.#sessions.delete(session.nodeId)
      if (this.#beats.get(session.nodeId)?.epoch === session.epoch) this.#beats.delete(session.nodeId)
    },
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error))

function refuseUpgrade(deps: CoreDeps, socket: Duplex, given: Failure): void {
  const { http } = ERRORS[given.code]
  const body = JSON.stringify(problemOf(given, newId.request(deps.random)))
  socket.end(
    `HTTP/1.1 ${http} ${given.code}\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** Runs again and again, never twice at once, until stopped. */
function every(deps: CoreDeps, intervalMs: number, run: () => Promise<void>): () => void {
  let stopped = false
  let cancel = () => {}
  const again = () => {
    if (!stopped) cancel = deps.clock.after(intervalMs, () => void once())
  }
  const once = async () => {
    try {
      await run()
    } catch (error) {
      deps.log.error('link loop failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
    again()
  }
  again()
  return () => {
    stopped = true
    cancel()
  }
}

/** One statement for all agents. A beat that could not be written is written with the next one, unless a newer one replaced it. */
async function writeBeats(
  deps: CoreDeps,
  outage: Outage,
  beats: Map<NodeId, Heartbeat>,
  sessions: ReadonlyMap<NodeId, Session>,
): Promise<void> {
  if (beats.size === 0) return
  const batch = [...beats.values()]
  const written = await deps.store.recordHeartbeats(deps.clock.wallMs(), batch)
  if (!written.ok) return outage.failed(written.error)
  outage.over()
  const current = new Set(written.value)
  for (const beat of batch) {
    if (beats.get(beat.nodeId) === beat) beats.delete(beat.nodeId)
    const session = sessions.get(beat.nodeId)
    // The store knows a newer session, or has given this one up: hello settles it.
    if (!current.has(beat.nodeId) && session?.epoch === beat.epoch) session.drop()
  }
}
