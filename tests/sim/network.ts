// A network in memory: connections as `ws` shows them at both ends. TCP keeps what it carries in order and never delivers it twice;
// what may happen is delay, silence in one or both directions (what was sent waits, and comes when the way is free again), and a
// connection that one end has given up while the other one does not know.
import { WIRE_STATE, type Wire } from '../../src/base/wire.ts'
import type { Chance } from './chance.ts'
import type { LifeClock, SimTime } from './clock.ts'

type Side = 'agent' | 'control'

interface Frame {
  readonly kind: 'text' | 'ping' | 'pong' | 'close' | 'end'
  readonly text: string
  readonly code: number
}

/** The way between one node and the control plane. */
export class Path {
  latencyMs = 0.5
  /** What is sent from this side does not arrive. */
  readonly blocked: Record<Side, boolean> = { agent: false, control: false }
  /** What a dial gets: nobody listens, or an answer that is not willing. */
  refusal: 'none' | 'refused' | number = 'none'
  readonly ends = new Set<End>()

  isBlocked(from: Side): boolean {
    return this.blocked[from]
  }

  set(agent: boolean, control: boolean): void {
    this.blocked.agent = agent
    this.blocked.control = control
    for (const end of [...this.ends]) end.pump()
  }
}

type Events = 'open' | 'pong' | 'message' | 'error' | 'close' | 'unexpected-response'
type Heard = (...given: never[]) => void

interface EndOptions {
  readonly side: Side
  readonly path: Path
  readonly time: SimTime
  readonly life: LifeClock
  readonly chance: Chance
  readonly delivered: (text: string) => void
}

/** Room that the kernel has for what cannot be sent now. */
const KERNEL_BYTES = 2 ** 20

export class End implements Wire {
  readyState: number = WIRE_STATE.connecting
  readonly #options: EndOptions
  readonly #heard = new Map<Events, Heard[]>()
  /** What was sent to the other end and is not there yet. */
  readonly #flight: Frame[] = []
  #peer: End | null = null
  #arrivesMs = 0
  #paused = false
  #pumping = false
  #flightBytes = 0

  constructor(options: EndOptions) {
    this.#options = options
    options.path.ends.add(this)
  }

  get bufferedAmount(): number {
    return Math.max(0, this.#flightBytes - KERNEL_BYTES)
  }

  get side(): Side {
    return this.#options.side
  }

  get alive(): boolean {
    return !this.#options.life.dead
  }

  join(peer: End): void {
    this.#peer = peer
    this.readyState = WIRE_STATE.open
  }

  on(event: Events, heard: Heard): void {
    this.#heard.set(event, [...(this.#heard.get(event) ?? []), heard])
  }

  emit(event: Events, ...given: unknown[]): void {
    this.#options.life.whenAwake(() => {
      for (const heard of this.#heard.get(event) ?? []) (heard as (...all: unknown[]) => void)(...given)
    })
  }

  send(text: string, sent?: (error?: Error | null) => void): void {
    if (this.readyState !== WIRE_STATE.open || !this.alive) return
    this.#fly({ kind: 'text', text, code: 0 })
    if (sent) queueMicrotask(() => this.#options.life.whenAwake(() => sent()))
  }

  ping(): void {
    if (this.readyState === WIRE_STATE.open && this.alive) this.#fly({ kind: 'ping', text: '', code: 0 })
  }

  close(code = 1005): void {
    if (this.readyState !== WIRE_STATE.open) return
    this.readyState = WIRE_STATE.closing
    this.#fly({ kind: 'close', text: '', code })
  }

  terminate(): void {
    if (this.readyState === WIRE_STATE.closed) return
    const wasConnecting = this.readyState === WIRE_STATE.connecting
    this.#gone(1006, wasConnecting ? new Error('closed before the connection was established') : null)
    this.#hangUp()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#peer?.pump()
  }

  /** The process is gone: the kernel says so to the other end, when the way is free. */
  abandon(): void {
    this.readyState = WIRE_STATE.closed
    this.#options.path.ends.delete(this)
    this.#hangUp()
  }

  /** The machine is gone, and nobody says anything. */
  vanish(): void {
    this.readyState = WIRE_STATE.closed
    this.#flight.length = 0
    this.#options.path.ends.delete(this)
  }

  fail(error: Error): void {
    this.#gone(1006, error)
  }

  /** Moves what has arrived by now; one frame, and the next one by itself. */
  pump(): void {
    if (this.#pumping || this.#flight.length === 0) return
    this.#pumping = true
    const { time, path, side, chance } = this.#options
    const latencyMs = path.latencyMs * (0.5 + chance.fraction())
    this.#arrivesMs = Math.max(this.#arrivesMs + 0.001, time.nowMs + latencyMs)
    time.after(this.#arrivesMs - time.nowMs, () => {
      this.#pumping = false
      if (path.isBlocked(side)) return
      const peer = this.#peer
      if (peer?.mayTake() === false) return
      const frame = this.#flight.shift()
      if (!frame) return
      this.#flightBytes -= frame.text.length
      peer?.take(frame)
      this.pump()
    })
  }

  mayTake(): boolean {
    if (!this.#paused) return true
    return this.readyState === WIRE_STATE.closed
  }

  take(frame: Frame): void {
    if (this.readyState === WIRE_STATE.closed) {
      // Whoever still talks to it learns that nobody is there.
      if (frame.kind !== 'end') this.#fly({ kind: 'end', text: '', code: 1006 })
      return
    }
    this.#options.life.whenAwake(() => this.#open(frame))
  }

  #open(frame: Frame): void {
    if (this.readyState === WIRE_STATE.closed) return
    switch (frame.kind) {
      case 'text':
        this.#options.delivered(frame.text)
        this.emit('message', frame.text, false)
        return
      case 'ping':
        this.#fly({ kind: 'pong', text: '', code: 0 })
        return
      case 'pong':
        this.emit('pong')
        return
      case 'close':
        if (this.readyState === WIRE_STATE.open) this.#fly({ kind: 'close', text: '', code: frame.code })
        this.#gone(frame.code, null)
        return
      case 'end':
        this.#gone(1006, null)
        return
      default:
        frame.kind satisfies never
    }
  }

  #fly(frame: Frame): void {
    this.#flight.push(frame)
    this.#flightBytes += frame.text.length
    this.pump()
  }

  #hangUp(): void {
    // What the kernel has taken still goes out before the end of the connection; on a blocked way the end itself may get lost.
    if (this.#options.path.isBlocked(this.#options.side) && this.#options.chance.happens(0.5)) this.#flight.length = 0
    else this.#fly({ kind: 'end', text: '', code: 1006 })
  }

  #gone(code: number, error: Error | null): void {
    if (this.readyState === WIRE_STATE.closed) return
    this.readyState = WIRE_STATE.closed
    this.#options.path.ends.delete(this)
    this.#options.time.after(0.01, () => {
      if (error) this.emit('error', error)
      this.emit('close', code)
    })
  }
}

export interface Listener {
  readonly life: LifeClock
  readonly chance: Chance
  accept(end: End): void
}

const SYN_RETRY_MS = 1000

export interface Dialling {
  readonly time: SimTime
  readonly life: LifeClock
  readonly path: Path
  readonly chance: Chance
  /** Who answers now; undefined = nobody listens. */
  readonly listener: () => Listener | undefined
  readonly delivered: (side: Side, text: string) => void
}

/** An answer without a body, whose end is heard a moment later. */
const refused = (time: SimTime, life: LifeClock, statusCode: number) => ({
  statusCode,
  on(event: string, heard: () => void) {
    if (event === 'end') time.after(0.1, () => life.whenAwake(heard))
  },
})

/** What an agent gets for a dial. */
export function dialThrough({ time, life, path, chance, listener, delivered }: Dialling): End {
  const end = new End({ side: 'agent', path, time, life, chance, delivered: (text) => delivered('agent', text) })
  const knock = () => {
    if (end.readyState !== WIRE_STATE.connecting || !end.alive) return
    if (path.isBlocked('agent') || path.isBlocked('control')) return void time.after(SYN_RETRY_MS, knock)
    const { refusal } = path
    if (typeof refusal === 'number') return end.emit('unexpected-response', null, refused(time, life, refusal))
    const server = refusal === 'refused' ? undefined : listener()
    if (!server || server.life.standing) {
      if (server?.life.standing) return void time.after(SYN_RETRY_MS, knock)
      return end.fail(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))
    }
    const other = new End({
      side: 'control',
      path,
      time,
      life: server.life,
      chance: server.chance,
      delivered: (text) => delivered('control', text),
    })
    other.join(end)
    end.join(other)
    server.accept(other)
    end.emit('open')
  }
  time.after(path.latencyMs * (1 + chance.fraction()), knock)
  return end
}
