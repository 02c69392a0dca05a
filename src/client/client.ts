// The typed client of the HTTP API, inferred from the route table. Used by the CLI, the console and tests.
// Expected failures are values with the server's code; a connection that nobody takes is `control_unreachable`.
import type { z } from 'zod'
import type { Clock, Random } from '../base/clock.ts'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import { ROUTES, type Route, type RouteName } from '../contracts/routes.ts'
import type { EventView } from '../contracts/views.ts'
import { parseJson } from './failures.ts'
import { CLIENT_LIMITS } from './limits.ts'
import { type CallOptions, exchange, type Fetch, type QueryValue, type Transport } from './request.ts'
import { type EventsOptions, type OnChunk, type OnEvent, readEvents, readOutput, type StreamEnd } from './stream.ts'

type RouteOf<Name extends RouteName> = (typeof ROUTES)[Name]
type Params<R> = R extends { params: infer P extends z.ZodType } ? { readonly params: z.input<P> } : { readonly params?: never }
type Query<R> = R extends { query: infer Q extends z.ZodType }
  ? { readonly query?: { readonly [Key in keyof z.input<Q>]?: QueryValue } }
  : { readonly query?: never }
type Body<R> = R extends { body: infer B extends z.ZodType }
  ? undefined extends z.input<B>
    ? { readonly body?: z.input<B> }
    : { readonly body: z.input<B> }
  : { readonly body?: never }

/** What a call of the named route takes. Query flags and numbers may be given as such. */
export type CallInput<Name extends RouteName> = Params<RouteOf<Name>> &
  Query<RouteOf<Name>> &
  Body<RouteOf<Name>> &
  Pick<CallOptions, 'idempotencyKey' | 'ifMatch' | 'signal'>

export type CallOutput<Name extends RouteName> = RouteOf<Name>['out'] extends z.ZodType ? z.output<RouteOf<Name>['out']> : undefined

export type JsonRoute = { [Name in RouteName]: RouteOf<Name> extends { stream: string } ? never : Name }[RouteName]
export type NdjsonRoute = { [Name in RouteName]: RouteOf<Name> extends { stream: 'ndjson' } ? Name : never }[RouteName]

export interface Client {
  readonly url: string
  /** Repeats transport errors and `store_unavailable` within a bounded time; a mutation keeps its Idempotency-Key meanwhile. */
  call<Name extends JsonRoute>(name: Name, input: CallInput<Name>): Promise<Result<CallOutput<Name>, Failure>>
  /** Output of logs or exec, chunk by chunk; never repeated. `cancelled` when the signal ended it. */
  stream<Name extends NdjsonRoute>(
    name: Name,
    input: CallInput<Name>,
    onChunk: OnChunk,
    signal?: AbortSignal,
  ): Promise<Result<StreamEnd, Failure>>
  /** Every event after the cursor once and in order; resolves with the cursor to go on from. */
  events(options: EventsOptions, onEvent: OnEvent): Promise<Result<string | null, Failure>>
}

export interface ClientOptions {
  readonly url: string
  readonly token: string | null
  readonly clock: Clock
  readonly random: Random
  readonly fetch?: Fetch
  readonly requestMs?: number
  /** How long transient failures are repeated; 0 = not at all. */
  readonly retryMs?: number
}

export function createClient(options: ClientOptions): Client {
  const transport: Transport = {
    url: options.url.replace(/\/+$/, ''),
    token: options.token,
    clock: options.clock,
    random: options.random,
    fetch: options.fetch ?? ((url, init) => globalThis.fetch(url, init)),
    requestMs: options.requestMs ?? CLIENT_LIMITS.requestMs,
    retryMs: options.retryMs ?? CLIENT_LIMITS.retryMs,
  }
  const call: Client['call'] = async (name, input) => {
    const route: Route = ROUTES[name]
    const answer = await exchange(transport, route, input)
    return answer.ok ? parseAnswer(name, route, answer.value.text) : answer
  }
  return {
    url: transport.url,
    call,
    stream: (name, input, onChunk, signal) => readOutput(transport, ROUTES[name], { ...input, ...(signal && { signal }) }, onChunk),
    events: (given, onEvent) => (given.follow ? readEvents(transport, given, onEvent) : readPages(call, given, onEvent)),
  }
}

function parseAnswer<Name extends RouteName>(name: Name, route: Route, text: string): Result<CallOutput<Name>, Failure> {
  const parsed = route.out === null ? { success: true, data: undefined } : route.out.safeParse(parseJson(text))
  if (!parsed.success)
    return err(
      failure('internal', `The answer of ${name} is not of this protocol; are client and server of the same version?`, { route: name }),
    )
  // The parse edge: the schema of this very route has just accepted it, which the compiler cannot follow through the table.
  return ok(parsed.data as CallOutput<Name>)
}

async function readPages(call: Client['call'], options: EventsOptions, onEvent: OnEvent): Promise<Result<string | null, Failure>> {
  let cursor = options.after ?? null
  for (;;) {
    const page = await call('listEvents', {
      query: {
        limit: 200,
        ...(cursor !== null && { after: cursor }),
        ...(options.instance !== undefined && { instance: options.instance }),
      },
      ...(options.signal && { signal: options.signal }),
    })
    if (!page.ok) return page
    const items: readonly EventView[] = page.value.items
    for (const event of items) {
      await onEvent(event)
      cursor = event.cursor
    }
    if (page.value.next_cursor === null) return ok(cursor)
    cursor = page.value.next_cursor
  }
}
