// The Docker Engine API over its unix socket: one call in, a value or a typed fault out. Nothing here throws for what a daemon may do.
//
// Every call has a deadline and obeys a signal; a connect proves nothing, so a daemon that accepts and does not answer is `silent`.
// The API version is agreed with the daemon once (`/_ping`) and again after an outage, because it may come back upgraded.
// Pings, calls and long streams use separate connection pools: a hundred followed logs cannot keep an inspect waiting.
import type { Duplex, Readable } from 'node:stream'
import { type Dispatcher, Pool } from 'undici'
import type { z } from 'zod'
import type { Clock } from '../../../base/clock.ts'
import { DeadlineError, withDeadline } from '../../../base/deadline.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { isBelow, pickVersion } from './api-version.ts'
import { type EngineFault, faultOfError, malformed } from './engine-fault.ts'
import { ErrorBody } from './schemas.ts'

/** Newest API this code was written against; a newer daemon still serves it. */
const VERSION_MAX = '1.47'
/** Docker 20.10. Older daemons lack one-shot stats and report platform facts differently. */
export const VERSION_MIN = '1.41'
const CALL_DEADLINE_MS = 20_000
const ANSWER_BYTES_MAX = 64 * 2 ** 20
const ERROR_BYTES_MAX = 65_536
/** The version is agreed before the call that needs it; that call has a deadline of its own. */
const VERSION_DEADLINE_MS = 5000
const CALLS_MAX = 16
const STREAMS_MAX = 512

export interface Call {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** Without the version prefix. Every part that comes from outside is encoded by the caller. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** Sent as it is, as a tar archive. */
  readonly archive?: Uint8Array
  readonly deadlineMs?: number
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly bytes: Buffer
}

export class Engine {
  readonly socketPath: string
  readonly #clock: Clock
  readonly #calls: Pool
  /** Its own: calls about one container that hangs must not make the engine look dead. */
  readonly #pings: Pool
  readonly #streams: Pool
  #version: Promise<Result<string, EngineFault>> | undefined
  #answered = false

  constructor(options: { readonly socketPath: string; readonly clock: Clock }) {
    this.socketPath = options.socketPath
    this.#clock = options.clock
    // undici's own timeouts are off: the deadlines here are on the injected clock and cover connect, headers and body together.
    const pool = (connections: number) =>
      new Pool('http://docker', {
        connect: { socketPath: options.socketPath, timeout: 0 },
        connections,
        headersTimeout: 0,
        bodyTimeout: 0,
        keepAliveTimeout: 60_000,
      })
    this.#calls = pool(CALLS_MAX)
    this.#pings = pool(2)
    this.#streams = pool(STREAMS_MAX)
  }

  /** Does it answer, and which API version does it speak. Unversioned and cheap. */
  async ping(deadlineMs: number, signal: AbortSignal): Promise<Result<string, EngineFault>> {
    const answer = await this.#once('/_ping', { method: 'GET', path: '/_ping', deadlineMs }, this.#pings, signal)
    if (!answer.ok) return answer
    const version = answer.value.headers['api-version']
    if (answer.value.status !== 200 || typeof version !== 'string') return err(malformed('the answer to /_ping has no Api-Version'))
    if (isBelow(version, VERSION_MIN)) return err({ kind: 'too-old', version })
    this.#answered = true
    return ok(pickVersion(version, VERSION_MAX))
  }

  /** After an outage the daemon may be another one. */
  forgetVersion(): void {
    this.#version = undefined
  }

  /** One answer, read whole. A status of 400 or more is a fault. `long` calls (wait, stop) do not take the place of short ones. */
  async call(call: Call, signal: AbortSignal, how: 'short' | 'long' = 'short'): Promise<Result<Answer, EngineFault>> {
    const path = await this.#pathOf(call, signal)
    if (!path.ok) return path
    const answer = await this.#once(path.value, call, how === 'short' ? this.#calls : this.#streams, signal)
    if (!answer.ok) return answer
    const { status, bytes } = answer.value
    return status < 400 ? answer : err({ kind: 'status', status, message: messageOf(bytes) })
  }

  /** One JSON answer of the given shape. */
  async json<T>(call: Call, schema: z.ZodType<T>, signal: AbortSignal): Promise<Result<T, EngineFault>> {
    const answer = await this.call(call, signal)
    if (!answer.ok) return answer
    return parseJson(answer.value.bytes, schema)
  }

  /** A body that goes on; the deadline covers only the way to its headers. Aborting the signal ends it. */
  async stream(call: Call, signal: AbortSignal): Promise<Result<Readable, EngineFault>> {
    const path = await this.#pathOf(call, signal)
    if (!path.ok) return path
    const head = await this.#head(call, signal, (inner) =>
      this.#streams.request({ ...requestOf(path.value, call), signal: inner, highWaterMark: 65_536 }),
    )
    if (!head.ok) return head
    const { statusCode, body } = head.value
    if (statusCode < 400) return ok(body)
    const bytes = await withDeadline(this.#clock, CALL_DEADLINE_MS, signal, () => readAll(body, ERROR_BYTES_MAX)).catch(() =>
      Buffer.alloc(0),
    )
    return err({ kind: 'status', status: statusCode, message: messageOf(bytes) })
  }

  /** A raw two-way connection (exec). */
  async hijack(call: Call, signal: AbortSignal): Promise<Result<Duplex, EngineFault>> {
    const path = await this.#pathOf(call, signal)
    if (!path.ok) return path
    const { headers, body, method } = requestOf(path.value, call)
    // `body` is honoured by `upgrade` and missing from its declared type.
    const options = { path: path.value, method, headers, body, protocol: 'tcp' }
    const upgraded = await this.#head(call, signal, (inner) => this.#streams.upgrade({ ...options, signal: inner }))
    return upgraded.ok ? ok(upgraded.value.socket) : upgraded
  }

  async close(): Promise<void> {
    await Promise.all([this.#pings, this.#calls, this.#streams].map((pool) => pool.destroy()))
  }

  async #pathOf(call: Call, signal: AbortSignal): Promise<Result<string, EngineFault>> {
    const version = await this.#agreed(Math.min(call.deadlineMs ?? VERSION_DEADLINE_MS, VERSION_DEADLINE_MS), signal)
    if (!version.ok) return version
    const query = call.query ? `?${new URLSearchParams(call.query)}` : ''
    return ok(`/v${version.value}${call.path}${query}`)
  }

  /** Asked once by whoever comes first; a failure is not remembered, and another caller's abort is not ours. */
  async #agreed(deadlineMs: number, signal: AbortSignal): Promise<Result<string, EngineFault>> {
    if (signal.aborted) return err({ kind: 'cancelled' })
    const asked = this.#version ?? this.ping(deadlineMs, signal)
    this.#version = asked
    const version = await asked
    if (!version.ok && this.#version === asked) this.#version = undefined
    return !version.ok && version.error.kind === 'cancelled' && !signal.aborted ? this.#agreed(deadlineMs, signal) : version
  }

  async #once(path: string, call: Call, pool: Pool, signal: AbortSignal): Promise<Result<Answer, EngineFault>> {
    if (signal.aborted) return err({ kind: 'cancelled' })
    try {
      return await withDeadline(this.#clock, call.deadlineMs ?? CALL_DEADLINE_MS, signal, async (inner) => {
        const { statusCode, headers, body } = await pool.request({ ...requestOf(path, call), signal: inner })
        const bytes = await readAll(body, ANSWER_BYTES_MAX)
        return ok({ status: statusCode, headers, bytes })
      })
    } catch (error) {
      return err(faultOfError(error, signal, this.socketPath, this.#answered))
    }
  }

  /** Runs `send` with a deadline on its promise only; afterwards the caller's signal still ends what it began. */
  async #head<T>(call: Call, signal: AbortSignal, send: (inner: AbortSignal) => Promise<T>): Promise<Result<T, EngineFault>> {
    if (signal.aborted) return err({ kind: 'cancelled' })
    const deadlineMs = call.deadlineMs ?? CALL_DEADLINE_MS
    const controller = new AbortController()
    const cancel = this.#clock.after(deadlineMs, () => controller.abort(new DeadlineError(deadlineMs)))
    try {
      return ok(await send(AbortSignal.any([signal, controller.signal])))
    } catch (error) {
      return err(faultOfError(error, signal, this.socketPath, this.#answered))
    } finally {
      cancel()
    }
  }
}

function requestOf(path: string, call: Call) {
  const json = call.body === undefined ? undefined : JSON.stringify(call.body)
  const body: string | Uint8Array | null = call.archive ?? json ?? null
  const type = call.archive ? 'application/x-tar' : 'application/json'
  return {
    path,
    method: call.method satisfies Dispatcher.HttpMethod,
    headers: body === null ? {} : { 'content-type': type },
    body,
  }
}

async function readAll(body: Readable, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    if (!Buffer.isBuffer(chunk)) continue
    size += chunk.length
    if (size > bytesMax) throw new RangeError(`an answer of the engine is larger than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export function parseJson<T>(bytes: Uint8Array, schema: z.ZodType<T>): Result<T, EngineFault> {
  let raw: unknown
  try {
    raw = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString())
  } catch (error) {
    return err(malformed('not JSON', error))
  }
  const parsed = schema.safeParse(raw)
  return parsed.success ? ok(parsed.data) : err(malformed(parsed.error.issues[0]?.path.join('.') ?? 'unexpected shape', parsed.error))
}

/** The engine's sentence: shown to people, never read by us. */
function messageOf(bytes: Uint8Array): string {
  const parsed = parseJson(bytes, ErrorBody)
  return parsed.ok ? parsed.value.message.slice(0, 1000) : ''
}
