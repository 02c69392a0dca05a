// The agents' side of the API: agents dial in over a WebSocket, control never dials a node. This file owns the open sessions:
// it lets agents in, passes wishes on to them when the store says that something changed, and their heartbeats to the store.
// Every push only shortens a wait: a resync of the whole set every half minute covers whatever was lost.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { err, type Result } from '../../base/result.ts'
import { type AgentRequest, LINK_MESSAGE_BYTES_MAX, LINK_PATH } from '../../contracts/agent-protocol.ts'
import { ERRORS, type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId, type NodeId, newId } from '../../contracts/ids.ts'
import type { ChangeKey } from '../model/event.ts'
import { type Heartbeat, recordHeartbeats } from '../store/nodes.ts'
import { desiredByIds } from '../store/placement.ts'
import type { Callers } from './caller.ts'
import type { ApiDeps } from './deps.ts'
import type { Exchange } from './link-requests.ts'
import { runSession, type Session } from './link-session.ts'
import { PROBLEM_TYPE, problemOf } from './problem.ts'
import { withinStoreTime } from './store-time.ts'

export interface Link {
  /** For the server's `upgrade` event. */
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Asks the agent of a node; `node_unreachable` when it is not connected here. */
  request(nodeId: NodeId, request: AgentRequest): Result<Exchange, Failure>
  readonly sessions: ReadonlyMap<NodeId, Session>
  /** Seconds since the most silent agent was heard; 0 without agents. */
  oldestHeardSeconds(): number
  close(): Promise<void>
}

export function createLink(deps: ApiDeps, callers: Callers): Link {
  const { clock, limits, log, store } = deps
  const wss = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: LINK_MESSAGE_BYTES_MAX, clientTracking: false })
  const closing = new AbortController()
  const sessions = new Map<NodeId, Session>()
  const running = new Set<Promise<void>>()
  const beats = new Map<NodeId, Heartbeat>()
  const pusher = createPusher(deps, sessions)
  const hub = {
    onOpen(session: Session) {
      // The same agent again, before its old connection was found dead.
      sessions.get(session.nodeId)?.drop()
      sessions.set(session.nodeId, session)
    },
    onBeat: (beat: Heartbeat) => void beats.set(beat.nodeId, beat),
    onClose(session: Session) {
      if (sessions.get(session.nodeId) === session) sessions.delete(session.nodeId)
      if (beats.get(session.nodeId)?.epoch === session.epoch) beats.delete(session.nodeId)
    },
  }
  const stops = [
    store.listen((change) => pusher.note(change)),
    every(deps, limits.linkHeartbeatWriteMs, () => writeBeats(deps, beats, sessions)),
    every(deps, limits.linkResyncMs, async () => {
      for (const session of [...sessions.values()]) await session.resync()
    }),
  ]

  const admit = async (request: IncomingMessage): Promise<Failure | undefined> => {
    if (closing.signal.aborted) return failure('shutting_down', 'The control plane is shutting down.')
    if (running.size >= limits.linkSessionsMax) return failure('shutting_down', `${running.size} agents are connected, which is the limit.`)
    const caller = await withinStoreTime(deps, callers.identify(request.headers.authorization), false)
    if (!caller.ok) return caller.error
    if (caller.value.token.role !== 'agent')
      return failure('forbidden', `The agent link needs an agent token; ${caller.value.token.name} is for a ${caller.value.token.role}.`)
    return undefined
  }
  return {
    onUpgrade(request, socket, head) {
      // Until ws takes over nobody else listens: an unheard error would end the process.
      const onError = () => socket.destroy()
      socket.on('error', onError)
      const path = request.url?.split('?', 1)[0]
      const decide = path === LINK_PATH ? admit(request) : Promise.resolve(failure('not_found', `There is no WebSocket at ${path}.`))
      void decide.then(
        (refused) => {
          if (socket.destroyed) return
          if (refused) return refuseUpgrade(deps, socket, refused)
          socket.off('error', onError)
          wss.handleUpgrade(request, socket, head, (connected) => {
            const session = runSession(deps, hub, connected, closing.signal)
              .catch((error: unknown) =>
                log.error('agent session failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
              )
              .finally(() => running.delete(session))
            running.add(session)
          })
        },
        (error: unknown) => {
          log.error('agent not admitted', { error: String(error) })
          socket.destroy()
        },
      )
    },
    request(nodeId, request) {
      const session = sessions.get(nodeId)
      if (!session) return err(failure('node_unreachable', `The agent of ${nodeId} is not connected.`, { node_id: nodeId }))
      return session.requests.open(request)
    },
    sessions,
    oldestHeardSeconds: () => Math.max(0, ...[...sessions.values()].map((session) => (clock.elapsedMs() - session.heardMs()) / 1000)),
    async close() {
      closing.abort()
      for (const stop of stops) stop()
      pusher.close()
      await Promise.all(running)
      wss.close()
    },
  }
}

function refuseUpgrade(deps: ApiDeps, socket: Duplex, given: Failure): void {
  const { http } = ERRORS[given.code]
  const body = JSON.stringify(problemOf(given, newId.request(deps.random)))
  socket.end(
    `HTTP/1.1 ${http} ${given.code}\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** Runs again and again, never twice at once, until stopped. */
function every(deps: ApiDeps, intervalMs: number, run: () => Promise<void>): () => void {
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
async function writeBeats(deps: ApiDeps, beats: Map<NodeId, Heartbeat>, sessions: ReadonlyMap<NodeId, Session>): Promise<void> {
  if (beats.size === 0) return
  const batch = [...beats.values()]
  const written = await recordHeartbeats(deps.store.db, deps.clock.wallMs(), batch)
  if (!written.ok) {
    deps.log.warn('heartbeats not written', { error_code: written.error.code, nodes: batch.length })
    return
  }
  const current = new Set(written.value)
  for (const beat of batch) {
    if (beats.get(beat.nodeId) === beat) beats.delete(beat.nodeId)
    const session = sessions.get(beat.nodeId)
    // The store knows a newer session, or has given this one up: hello settles it.
    if (!current.has(beat.nodeId) && session?.epoch === beat.epoch) session.drop()
  }
}

/** Folds changes into one look at the store, and tells each connected node what concerns it. */
function createPusher(deps: ApiDeps, sessions: ReadonlyMap<NodeId, Session>) {
  const dirty = new Set<InstanceId>()
  let all = false
  let cancel: (() => void) | null = null
  let busy = false
  let closed = false
  const schedule = (delayMs: number) => {
    if (!closed && !busy) cancel ??= deps.clock.after(delayMs, () => void flush())
  }
  const flush = async () => {
    cancel = null
    busy = true
    let delayMs = deps.limits.linkPushDelayMs
    try {
      if (!(await pushOnce())) delayMs = deps.limits.linkRetryMs
    } catch (error) {
      deps.log.error('push failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    } finally {
      busy = false
      if (dirty.size > 0 || all) schedule(delayMs)
    }
  }
  /** False when the store did not answer: what was to be pushed stays noted. */
  const pushOnce = async (): Promise<boolean> => {
    if (all) {
      all = false
      dirty.clear()
      for (const session of [...sessions.values()]) await session.resync()
      return true
    }
    const ids = [...dirty]
    dirty.clear()
    if (ids.length === 0 || sessions.size === 0) return true
    const found = await desiredByIds(deps.store.db, ids)
    if (!found.ok) {
      deps.log.warn('desired state not pushed', { error_code: found.error.code, instances: ids.length })
      for (const id of ids) dirty.add(id)
      return false
    }
    for (const [nodeId, items] of Map.groupBy(found.value, (one) => one.nodeId)) {
      if (nodeId !== null) sessions.get(nodeId)?.push(items.map((one) => one.desired))
    }
    return true
  }
  return {
    note(change: ChangeKey | null) {
      if (change === null) all = true
      else if (change.kind === 'instance') {
        const id = InstanceId.safeParse(change.id)
        if (id.success) dirty.add(id.data)
      }
      if (dirty.size > 0 || all) schedule(deps.limits.linkPushDelayMs)
    },
    close() {
      closed = true
      cancel?.()
    },
  }
}
