// What a handler is given, what it gives back, and how a change goes through the store.
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { z } from 'zod'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { OrgId } from '../../contracts/ids.ts'
import { canonicalHash } from '../../contracts/manifest-compile.ts'
import type { ROUTES, RouteName } from '../../contracts/routes.ts'
import type { OrgScope } from '../model/org.ts'
import type { StoreWrites } from '../store/access.ts'
import type { Mutation, MutationReply, Reply as Stored } from '../store/mutation.ts'
import type { Caller } from './caller.ts'

type RouteOf<Name extends RouteName> = (typeof ROUTES)[Name]
type Parsed<R, Key extends string> = R extends { readonly [K in Key]: infer S extends z.ZodType } ? z.output<S> : undefined

export interface Context<Name extends RouteName> {
  readonly name: Name
  readonly caller: Caller
  /** The caller's scope, narrowed to the organisation it named in `Holdfast-Org`. */
  readonly scope: OrgScope
  readonly requestId: string
  readonly params: Parsed<RouteOf<Name>, 'params'>
  readonly query: Parsed<RouteOf<Name>, 'query'>
  readonly body: Parsed<RouteOf<Name>, 'body'>
  readonly idempotencyKey: string | null
  readonly ifVersion: number | null
  /** Aborted when the client goes away, or the server closes. */
  readonly signal: AbortSignal
  /** Method, path and query, for the fingerprint of a change. */
  readonly line: string
}

export type Answer<Name extends RouteName> = RouteOf<Name>['out'] extends z.ZodType ? z.output<RouteOf<Name>['out']> : undefined

export interface Reply<T> {
  readonly body: T
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
}

export type Handler<Name extends RouteName> = (context: Context<Name>) => Promise<Result<Reply<Answer<Name>>, Failure>>

export interface RawExchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** Answers on the raw response and returns null, or returns what is to be sent while nothing has been: a reply or a failure. */
export type StreamHandler<Name extends RouteName> = (
  context: Context<Name>,
  raw: RawExchange,
) => Promise<Result<Reply<unknown> | null, Failure>>

/** Events are a stream for those who ask for one. */
type AnyStream = { [Name in RouteName]: RouteOf<Name> extends { stream: string } ? Name : never }[RouteName] | 'listEvents'
export type StreamRoute = AnyStream
/** Answered by `open-routes.ts`, for everybody. */
type OpenRoute = { [Name in RouteName]: RouteOf<Name> extends { role: null } ? Name : never }[RouteName]
export type JsonRoute = Exclude<RouteName, AnyStream | OpenRoute>
export type Handlers = { readonly [Name in JsonRoute]: Handler<Name> }
export type StreamHandlers = { readonly [Name in StreamRoute]: StreamHandler<Name> }

export const reply = <T>(body: T): Result<Reply<T>, never> => ok({ body })

interface Change<T, Tx> {
  readonly orgId: OrgId | null
  /** What the caller named, for the audit row. */
  readonly target: string
  readonly run: (tx: Tx) => Promise<Result<Omit<MutationReply, 'status' | 'body'> & { readonly body: T }, Failure>>
}

/**
 * Carries out a change: once per Idempotency-Key, audited, its answer stored with it. A replay answers with what was stored, which
 * this very route wrote; its type is therefore the route's.
 */
export async function change<Name extends RouteName, Tx = StoreWrites>(
  store: { mutate(mutation: Mutation, run: (tx: Tx) => Promise<Result<MutationReply, Failure>>): Promise<Result<Stored, Failure>> },
  context: Context<Name>,
  status: number,
  given: Change<Answer<Name>, Tx>,
): Promise<Result<Reply<Answer<Name>>, Failure>> {
  const { caller, idempotencyKey: key } = context
  const requestHash = createHash('sha256')
    .update(`${context.line}\n${context.ifVersion}\n${canonicalHash(context.body ?? null)}`)
    .digest('hex')
  const done = await store.mutate(
    {
      actor: caller.actor,
      action: context.name,
      orgId: given.orgId,
      requestId: context.requestId,
      target: given.target,
      idempotency: key === null ? null : { scope: `${context.scope ?? '*'}/${caller.token.id}/${context.name}`, key, requestHash },
    },
    async (tx) => {
      const made = await given.run(tx)
      return made.ok ? ok({ status, ...made.value }) : made
    },
  )
  if (!done.ok) return done
  return ok({
    status: done.value.status,
    // The parse edge of our own writing: see above.
    body: done.value.body as Answer<Name>,
    ...(done.value.replayed && { headers: { 'idempotency-replayed': 'true' } }),
  })
}

/** Things of the platform rather than of one organisation. */
export function refuseOrgBound(caller: Caller, what: string): Result<void, Failure> {
  if (caller.scope === null) return ok(undefined)
  return err(failure('forbidden', `${what} is for tokens of the whole platform; ${caller.token.name} belongs to one organisation.`))
}
