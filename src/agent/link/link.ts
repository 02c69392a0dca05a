// The agent's side of the link: one outgoing WebSocket, dialled again whenever it is lost, for as long as the agent lives. Control
// never dials. Nothing is queued here: what could not be sent is the caller's, who sends it again after the next welcome. Nothing
// that control says or fails to say ends the agent or touches a workload.

import { backoffMs } from '../../base/backoff.ts'
import type { Random } from '../../base/clock.ts'
import { durationText } from '../../base/duration-text.ts'
import { type NodeFacts, type NodeUsage, type Observed, PROTOCOL_VERSION } from '../../contracts/agent-protocol.ts'
import type { Collected } from '../../contracts/garbage.ts'
import { LINK_LIMITS } from './limits.ts'
import { Session, type SessionDeps, type SessionEnd } from './session.ts'

/** What one connection needs, for all connections one after the other. Here handlers may throw: it is logged. */
export interface LinkDeps extends Omit<SessionDeps, 'limits' | 'protocol'> {
  readonly random: Random
}

export interface Link {
  /** False = not sent: not connected, or too much is buffered already. True = handed to the socket, which may still lose it. */
  sendObserved(items: readonly Observed[]): boolean
  sendFacts(facts: NodeFacts): boolean
  sendCollected(items: readonly Collected[]): boolean
  connected(): boolean
  /** How the first dialling went: null = welcomed, else why not. Waits for that at most so long. */
  accepted(withinMs: number): Promise<string | null>
  /** Hangs up and dials no more; resolves when nothing of it runs. */
  close(): Promise<void>
}

export function openLink(deps: LinkDeps): Link {
  const { clock, random } = deps
  const closing = new AbortController()
  const tell = outageTeller(deps)
  const { promise: firstTry, resolve: tried } = Promise.withResolvers<string | null>()
  let session: Session | null = null

  const handlers = guarded(deps, () => {
    tell.connected()
    tried(null)
  })

  const dialOnce = async (): Promise<SessionEnd> => {
    try {
      session = new Session({ ...deps, ...handlers, limits: LINK_LIMITS, protocol: PROTOCOL_VERSION })
      return await session.ended
    } catch (error) {
      // An address or a token that makes no request, or a bug of ours: it must not end the agent, whose workloads need no control plane.
      const detail = error instanceof Error ? error.message : String(error)
      return { kind: 'lost', code: 'control_unreachable', detail, lastedMs: 0 }
    } finally {
      session = null
    }
  }
  const run = async () => {
    for (let failures = 0; !closing.signal.aborted; ) {
      const end = await dialOnce()
      tried(end.detail)
      if (closing.signal.aborted) return
      tell.lost(end)
      failures = end.lastedMs >= LINK_LIMITS.settledMs ? 1 : failures + 1
      await clock.sleep(redialMs(end, failures, random.fraction()), closing.signal).catch(() => {})
    }
  }
  const done = run()
  return {
    sendObserved: (items) => session?.sendObserved(items) ?? false,
    sendFacts: (facts) => session?.sendFacts(facts) ?? false,
    sendCollected: (items) => session?.sendCollected(items) ?? false,
    connected: () => session?.welcomed ?? false,
    async accepted(withinMs) {
      const cancel = clock.after(withinMs, () => tried(`no answer within ${durationText(withinMs)}`))
      return firstTry.finally(cancel)
    },
    async close() {
      closing.abort(new Error('the link is closing'))
      await session?.close()
      await done
    },
  }
}

type Handlers = Pick<LinkDeps, 'hello' | 'usage' | 'onWelcome' | 'onDesired' | 'onAck' | 'onCollected' | 'onConnected'>

/** A bug behind one message must not end the connection for all the others, and none of them the agent. */
function guarded(given: LinkDeps, onConnect: () => void): Handlers {
  const safely = <T>(what: string, act: () => T): T | null => {
    try {
      return act()
    } catch (error) {
      given.log.error('message handler failed', { what, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      return null
    }
  }
  let usage: NodeUsage | null = null
  return {
    hello: () => safely('hello', () => given.hello()),
    // An old figure is better than none: without heartbeats the control plane would take the node for lost.
    usage: () => {
      usage = safely('usage', () => given.usage()) ?? usage
      return usage
    },
    onWelcome: (items, seen) => void safely('welcome', () => given.onWelcome(items, seen)),
    onDesired: (items) => void safely('desired', () => given.onDesired(items)),
    onAck: (items) => void safely('ack', () => given.onAck(items)),
    onCollected: (keys) => void safely('collected', () => given.onCollected(keys)),
    onConnected: (connected) => {
      if (connected) onConnect()
      safely('connected', () => given.onConnected(connected))
    },
  }
}

/** A refusal does not go away by asking fast. Half of each wait is random: a thousand agents must not come back at the same moment. */
function redialMs(end: SessionEnd, failures: number, fraction: number): number {
  const { reconnect } = LINK_LIMITS
  const wholeMs = end.kind === 'refused' ? reconnect.maxMs : backoffMs(reconnect, failures, 0)
  return wholeMs * (0.5 + 0.5 * fraction)
}

/** One line per outage and per distinct refusal, however often is dialled meanwhile. */
function outageTeller({ log, controlUrl }: LinkDeps) {
  let told: string | null = null
  return {
    connected() {
      log.info('connected to the control plane', { url: controlUrl })
      told = null
    },
    lost({ kind, code, detail }: SessionEnd) {
      const what = kind === 'refused' ? `${code}: ${detail}` : kind
      if (told === what) return log.debug('control plane still not reached', { error_code: code, error: detail })
      told = what
      if (kind === 'refused') log.error('refused by the control plane', { url: controlUrl, error_code: code, error: detail })
      else log.warn('control plane not reached; workloads keep running', { url: controlUrl, error_code: code, error: detail })
    },
  }
}
