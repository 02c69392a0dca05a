// An agent that does nothing but talk: the other end of the link for tests of the control plane. It keeps what it hears and sends
// exactly what it is told to.
import WebSocket from 'ws'
import type { FromAgent } from '../../src/contracts/agent-protocol.ts'
import {
  type AgentRequest,
  type Desired,
  FromControl,
  LINK_PATH,
  type NodeFacts,
  type Observed,
  PROTOCOL_VERSION,
} from '../../src/contracts/agent-protocol.ts'
import type { Phase } from '../../src/contracts/phase.ts'
import { NOTHING_OBSERVED } from '../../src/control/model/instance.ts'
import { factsOf, nodeId, USAGE } from './control-records.ts'
import { waitFor } from './wait.ts'

export interface FakeAgent {
  readonly heard: readonly FromControl[]
  /** The newest wish for each instance. */
  readonly desired: ReadonlyMap<string, Desired>
  readonly closed: { readonly code: number; readonly reason: string } | null
  send(message: FromAgent): void
  sendRaw(text: string): void
  /** Waits for a message of the type; already heard ones count. */
  waitForMessage<T extends FromControl['type']>(
    type: T,
    matches?: (message: Extract<FromControl, { type: T }>) => boolean,
  ): Promise<Extract<FromControl, { type: T }>>
  onRequest(answer: (requestId: string, request: AgentRequest, windowBytes: number) => void): void
  onCredit(take: (requestId: string, bytes: number) => void): void
  /** Stops answering pings and reading: what a cut cable looks like. */
  freeze(): void
  close(): Promise<void>
}

export interface FakeAgentOptions {
  readonly url: string
  readonly token: string
  readonly nodeId?: string
  readonly bootId?: string
  readonly facts?: Partial<NodeFacts>
  /** False: say nothing by itself. */
  readonly hello?: boolean
}

type Heard<T extends FromControl['type']> = Extract<FromControl, { type: T }>

export async function connectAgent(options: FakeAgentOptions): Promise<FakeAgent> {
  const socket = new WebSocket(`${options.url.replace(/^http/, 'ws')}${LINK_PATH}`, {
    headers: { authorization: `Bearer ${options.token}` },
    perMessageDeflate: false,
  })
  const heard: FromControl[] = []
  const desired = new Map<string, Desired>()
  let closed: FakeAgent['closed'] = null
  let answer: Parameters<FakeAgent['onRequest']>[0] = () => {}
  let credit: Parameters<FakeAgent['onCredit']>[0] = () => {}
  socket.on('message', (data) => {
    const message = FromControl.parse(JSON.parse(String(data)))
    heard.push(message)
    if (message.type === 'welcome' || message.type === 'desired') for (const item of message.items) desired.set(item.id, item)
    if (message.type === 'request') answer(message.requestId, message.request, message.windowBytes)
    if (message.type === 'credit') credit(message.requestId, message.bytes)
  })
  socket.on('close', (code, reason) => {
    closed = { code, reason: String(reason) }
  })
  await opened(socket)
  const agent: FakeAgent = {
    heard,
    desired,
    get closed() {
      return closed
    },
    send: (message) => socket.send(JSON.stringify(message)),
    sendRaw: (text) => socket.send(text),
    waitForMessage: <T extends FromControl['type']>(type: T, matches: (message: Heard<T>) => boolean = () => true): Promise<Heard<T>> => {
      const isIt = (message: FromControl): message is Heard<T> => message.type === type && matches(message as Heard<T>)
      return waitFor<Heard<T> | undefined>(() => heard.find(isIt), { what: `a ${type} message`, deadlineMs: 10_000 }) as Promise<Heard<T>>
    },
    onRequest(given) {
      answer = given
    },
    onCredit(given) {
      credit = given
    },
    freeze: () => socket.pause(),
    async close() {
      socket.terminate()
      await waitFor(() => closed, { what: 'the end of the connection', deadlineMs: 5000 })
    },
  }
  if (options.hello !== false) agent.send(helloOf(options))
  return agent
}

/** Rejects with the status and body when the server does not let it in. */
function opened(socket: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.once('open', resolve)
    socket.once('unexpected-response', (_request, response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => reject(new Error(`${response.statusCode} ${text}`)))
    })
  })
}

function helloOf(options: FakeAgentOptions): FromAgent {
  const runtimes = (['fake', 'process', 'docker'] as const).map((runtime) => ({
    runtime,
    usable: true,
    version: null,
    detail: '',
    fix: null,
    limits: 'none' as const,
  }))
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    nodeId: nodeId(options.nodeId ?? 'node-a'),
    bootId: options.bootId ?? 'boot-1',
    facts: factsOf({ runtimes, ...options.facts }),
    usage: USAGE,
    instances: [],
  }
}

/** An observation of one step, from `placed` to `to`. */
export function observedOf(want: Desired, to: Phase, seq: number, given: Partial<Observed> = {}): Observed {
  return {
    id: want.id,
    generation: want.generation,
    ...NOTHING_OBSERVED,
    healSeq: want.healSeq,
    incarnation: 1,
    phase: to,
    health: 'healthy',
    pid: 4242,
    transitions: [{ seq, atMs: to.sinceMs, from: 'placed', to, incarnation: 1, exit: null }],
    ...given,
  }
}
