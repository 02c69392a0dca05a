// A control plane of one socket server and a link to it, for the tests of src/agent/link.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { WebSocketServer } from 'ws'
import { type LinkDeps, openLink } from '../../src/agent/link/link.ts'
import { dial } from '../../src/agent/link/socket.ts'
import type { LogFields } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/seeded-random.ts'
import { FromAgent, type FromControl, LINK_PATH, type NodeUsage } from '../../src/contracts/agent-protocol.ts'
import { NodeId } from '../../src/contracts/ids.ts'
import { desiredOf } from './desired.ts'
import { ManualClock } from './manual-clock.ts'
import { waitFor } from './wait.ts'

export const ID = desiredOf().id
export const USAGE: NodeUsage = { atMs: 1, cpuRatio: 0.1, memoryRatio: 0.2, diskRatio: 0.3, reservedMemoryBytes: 0, pressure: [] }
export const FACTS = {
  hostname: 'h',
  os: 'linux',
  cores: 2,
  memoryBytes: 1,
  allocatableMemoryBytes: 1,
  allocatableCpuMillis: 2000,
  labels: {},
  runtimes: [],
  agentVersion: '0',
}

interface Line {
  readonly level: string
  readonly msg: string
  readonly fields: LogFields | undefined
}

/** A control plane of one socket server: it answers hello with what `greet` says and keeps what it was told. */
export async function startControl(options: { greet?: FromControl | null; autoPong?: boolean } = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', path: LINK_PATH, autoPong: options.autoPong ?? true })
  await once(server, 'listening')
  const told: FromAgent[] = []
  const upgrades: IncomingMessage[] = []
  let pings = 0
  let greet = options.greet === undefined ? ({ type: 'welcome', items: [], seen: [] } as const) : options.greet
  server.on('connection', (socket, request) => {
    upgrades.push(request)
    socket.on('ping', () => {
      pings += 1
    })
    socket.on('message', (data) => {
      const message = FromAgent.parse(JSON.parse(String(data)))
      told.push(message)
      if (message.type === 'hello' && greet) socket.send(JSON.stringify(greet))
    })
  })
  onTestFinished(async () => {
    for (const client of server.clients) client.terminate()
    await new Promise((resolve) => server.close(resolve))
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    told,
    upgrades,
    clients: server.clients,
    get pings() {
      return pings
    },
    greetWith(message: FromControl) {
      greet = message
    },
    send(message: unknown) {
      for (const client of server.clients) client.send(typeof message === 'string' ? message : JSON.stringify(message))
    },
    ofType: <T extends FromAgent['type']>(type: T) =>
      told.filter((message): message is Extract<FromAgent, { type: T }> => message.type === type),
  }
}

/** Remembers what was slept: the waits between two dials. */
class WaitClock extends ManualClock {
  readonly waits: number[] = []
  override sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    this.waits.push(durationMs)
    return super.sleep(durationMs, signal)
  }
}

export function startLink(controlUrl: string, given: Partial<LinkDeps> = {}) {
  const clock = new WaitClock()
  const lines: Line[] = []
  const at = (level: string) => (msg: string, fields?: LogFields) => void lines.push({ level, msg, fields })
  const events: string[] = []
  const link = openLink({
    controlUrl,
    token: 'secret-token',
    dial,
    clock,
    random: seededRandom(1),
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    hello: () => ({ nodeId: NodeId.parse('node-a'), bootId: 'boot', facts: FACTS, usage: USAGE, instances: [] }),
    usage: () => USAGE,
    onWelcome: (items, seen) => events.push(`welcome ${items.map(({ name }) => name).join()} ${seen.map(({ seq }) => seq).join()}`),
    onDesired: (items) => events.push(`desired ${items.map(({ name }) => name).join()}`),
    onCollected: (keys) => events.push(`collected ${keys.join()}`),
    onAck: (items) => events.push(`ack ${items.map(({ seq }) => seq).join()}`),
    onRequest: async () => ({ error: null, exitCode: 0, stats: null, lostBytes: null }),
    onConnected: (connected) => events.push(connected ? 'connected' : 'gone'),
    ...given,
  })
  onTestFinished(() => link.close())
  const connected = () => waitFor(() => link.connected(), { what: 'the link is welcomed', deadlineMs: 5000 })
  return { link, clock, lines, events, connected }
}

export const eventually = (what: string, condition: () => unknown) =>
  waitFor(() => Boolean(condition()), { what, deadlineMs: 5000, everyMs: 5 })
