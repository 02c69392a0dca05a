// The HTTP server: routes from the table, one wrapper around all of them. Per request, in this order: id, token, role, body, NUL
// bytes, shape, organisation, handler; the first that refuses answers with a problem document.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import Fastify from 'fastify'
import { z } from 'zod'
import { err, ok, type Result } from '../../base/result.ts'
import { ERRORS, type Failure, failure, HoldfastError } from '../../contracts/errors.ts'
import { newId, RequestId } from '../../contracts/ids.ts'
import { WORDS } from '../../contracts/parse-words.ts'
import { ROUTES, type Route, type RouteName, UNTIMED_PATHS } from '../../contracts/routes.ts'
import type { OrgScope } from '../model/org.ts'
import { findOrg } from '../store/orgs.ts'
import { type Caller, type Callers, refuseRole } from './caller.ts'
import type { Context, Handlers, JsonRoute, RawExchange, Reply, StreamHandlers, StreamRoute } from './context.ts'
import type { ApiDeps } from './deps.ts'
import { parseBody, refuseNul } from './json-body.ts'
import { failureOf, invalidInput, PROBLEM_TYPE, problemOf } from './problem.ts'
import { withinStoreTime } from './store-time.ts'

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | null
  }
}

export interface ServerParts {
  readonly callers: Callers
  readonly handlers: Handlers
  readonly streams: StreamHandlers
  /** Aborted when the server closes: every stream ends. */
  readonly closing: AbortSignal
}

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{8,128}$/
/** Standard input of a command is bytes as text: NUL is one of them. */
const NUL_ALLOWED: Partial<Record<RouteName, ReadonlySet<string>>> = { execInstance: new Set(['stdin']) }
const NONE: ReadonlySet<string> = new Set()
const NOTHING = z.strictObject({}).optional()

/** Fastify with our hooks and errors, and no routes yet. */
export function buildServer(deps: ApiDeps): FastifyInstance {
  const app = Fastify({
    logger: false,
    bodyLimit: deps.limits.bodyBytesMax,
    genReqId: (request) => requestIdOf(deps, request.headers['x-request-id']),
    // A request under way gets its answer first, see drain.ts.
    forceCloseConnections: false,
    requestTimeout: deps.limits.receiveMs,
    exposeHeadRoutes: false,
    // A path that cannot be decoded never gets as far as the hooks.
    frameworkErrors: (error, request, reply) => sendFailure(deps, request, reply, failureOf(error)),
    return503OnClosing: false,
    routerOptions: { maxParamLength: 512 },
  })
  app.decorateRequest('caller', null)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_: FastifyRequest, bytes: Buffer) => unwrap(parseBody(bytes)))
  // Requests are read here, see `readRequest`; the schemas on the routes are for the document.
  app.setValidatorCompiler(() => (data) => ({ value: data }))
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
  })
  app.addHook('onResponse', async (request, reply) => measure(deps, request, reply))
  app.setErrorHandler((error, request, reply) => sendFailure(deps, request, reply, failureOf(error)))
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    return sendFailure(deps, request, reply, failure('unknown_route', `There is no ${request.method} ${path}.`, { path }))
  })
  return app
}

/** Every route of the table but those that need no caller. */
export function addRoutes(app: FastifyInstance, deps: ApiDeps, parts: ServerParts, schemaOf: (name: RouteName) => object): void {
  for (const [name, handler] of entries(parts.handlers)) {
    const route: Route = ROUTES[name]
    const limitMs = deps.limits.storeAnswerMs + (agentTimes(deps).get(name) ?? 0)
    add(app, deps, parts, name, schemaOf(name), async (context, _request, reply) => {
      const done = unwrap(await withinStoreTime(deps, handler(context), route.mutation === true, limitMs))
      return sendReply(reply, route, done)
    })
  }
  for (const [name, handler] of entries(parts.streams)) {
    add(app, deps, parts, name, schemaOf(name), async (context, request, reply) => {
      const stop = parts.callers.watch(request.headers.authorization, () => reply.raw.destroy())
      const done = await handler(context, { request: request.raw, response: reply.raw }).finally(stop)
      if (reply.raw.headersSent || reply.raw.destroyed) return reply.hijack()
      if (!done.ok) return sendFailure(deps, request, reply, done.error)
      return done.value === null ? reply.hijack() : sendReply(reply, ROUTES[name], done.value)
    })
  }
}

/** What an agent is asked takes its time, which is not the store's. */
const agentTimes = ({ limits }: ApiDeps): ReadonlyMap<RouteName, number> =>
  new Map([
    ['statsInstance', limits.statsMs],
    ['showGarbage', limits.gcMs],
    ['collectGarbage', limits.gcMs],
  ])

/** That a name and its handler belong together is what a loop over a table loses; the tables' types have checked it. */
type AnyHandler = (context: Context<RouteName>) => Promise<Result<Reply<unknown>, Failure>>
type AnyStream = (context: Context<RouteName>, raw: RawExchange) => Promise<Result<Reply<unknown> | null, Failure>>
function entries(table: Handlers): readonly [JsonRoute, AnyHandler][]
function entries(table: StreamHandlers): readonly [StreamRoute, AnyStream][]
function entries(table: object): readonly (readonly [string, unknown])[] {
  return Object.entries(table)
}

type Run = (context: Context<RouteName>, request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

function add(app: FastifyInstance, deps: ApiDeps, parts: ServerParts, name: RouteName, schema: object, run: Run): void {
  const route: Route = ROUTES[name]
  const { role } = route
  if (role === null) throw new Error(`bug in holdfast: ${name} needs no caller`)
  app.route({
    method: route.method,
    url: route.path,
    schema,
    ...(name === 'execInstance' && { bodyLimit: deps.limits.execBodyBytesMax }),
    onRequest: async (request) => {
      const caller = unwrap(await withinStoreTime(deps, parts.callers.identify(request.headers.authorization), false))
      const refused = refuseRole(caller, role)
      if (refused) throw new HoldfastError(refused)
      request.caller = caller
    },
    handler: async (request, reply) => {
      const signal = goneSignal(reply, parts.closing)
      return run(unwrap(await withinStoreTime(deps, readRequest(deps, name, request, signal), false)), request, reply)
    },
  })
}

async function sendReply(reply: FastifyReply, route: Route, done: Reply<unknown>): Promise<FastifyReply> {
  reply.code(done.status ?? route.status).headers(done.headers ?? {})
  if (route.out === null) return reply.send()
  // Serialized here: the schemas describe the answers and tests hold them to it, but checking each answer again would only cost.
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(done.body))
}

const OUTAGES: ReadonlySet<string> = new Set(['store_unavailable', 'node_unreachable', 'shutting_down'])

export function sendFailure(deps: ApiDeps, request: FastifyRequest, reply: FastifyReply, given: Failure): FastifyReply {
  deps.meter.count('errors_total', { code: given.code })
  const { http } = ERRORS[given.code]
  // An outage is told by what noticed it, once, and not by every request that met it.
  if (http >= 500 && !OUTAGES.has(given.code)) {
    const cause = given.cause instanceof Error ? (given.code === 'internal' ? given.cause.stack : given.cause.message) : undefined
    deps.log[given.code === 'internal' ? 'error' : 'warn']('request failed', {
      request_id: request.id,
      method: request.method,
      route: request.routeOptions.url ?? 'unmatched',
      error_code: given.code,
      error: given.detail,
      ...(cause !== undefined && { cause }),
    })
  }
  if (given.code === 'unauthenticated') reply.header('www-authenticate', 'Bearer')
  return reply
    .code(http)
    .header('x-request-id', request.id)
    .header('content-type', PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(problemOf(given, request.id, aboutOf(request)))))
}

/** The instance that the path names. What is there is not parsed yet: anything but a name or an id names none. */
function aboutOf({ routeOptions, params }: FastifyRequest): string | undefined {
  if (!routeOptions.url?.startsWith(`${ROUTES.getInstance.path}`)) return undefined
  const ref = ROUTES.getInstance.params.safeParse(params)
  return ref.success ? ref.data.id : undefined
}

/** Shape, headers and organisation of a request: the edge where `unknown` becomes the types of the route. */
async function readRequest(
  deps: ApiDeps,
  name: RouteName,
  request: FastifyRequest,
  signal: AbortSignal,
): Promise<Result<Context<RouteName>, Failure>> {
  const route: Route = ROUTES[name]
  const { caller } = request
  if (caller === null) return err(failure('unauthenticated', 'The request carries no token.'))
  if (request.url.includes('%00')) return err(failure('invalid_input', 'path: must not contain a NUL byte', { field: 'path' }))
  const nul = refuseNul(request.body, NUL_ALLOWED[name] ?? NONE)
  if (nul) return err(nul)
  const params = (route.params ?? NOTHING).safeParse(request.params, WORDS)
  if (!params.success) return err(invalidInput('path', params.error.issues))
  const query = (route.query ?? NOTHING).safeParse(request.query, WORDS)
  if (!query.success) return err(invalidInput('query', query.error.issues))
  const body = (route.body ?? NOTHING).safeParse(request.body ?? undefined, WORDS)
  if (!body.success) return err(invalidInput('body', body.error.issues))
  const headers = readHeaders(request, route)
  if (!headers.ok) return headers
  const scope = await readScope(deps, caller, request.headers['holdfast-org'])
  if (!scope.ok) return scope
  const context = {
    name,
    caller,
    scope: scope.value,
    requestId: request.id,
    params: params.data,
    query: query.data,
    body: body.data,
    ...headers.value,
    signal,
    line: `${request.method} ${request.url}`,
  }
  // The parse edge: the schemas of this very route have accepted each part.
  return ok(context as unknown as Context<RouteName>)
}

function readHeaders(request: FastifyRequest, route: Route): Result<{ idempotencyKey: string | null; ifVersion: number | null }, Failure> {
  const key = request.headers['idempotency-key']
  if (route.mutation && key !== undefined && (typeof key !== 'string' || !IDEMPOTENCY_KEY.test(key)))
    return err(
      failure('invalid_idempotency_key', 'The Idempotency-Key is not 8 to 128 visible ASCII characters.', { field: 'Idempotency-Key' }),
    )
  const match = request.headers['if-match']
  const version = match === undefined || match === '*' ? null : /^(?:W\/)?"?([0-9]{1,15})"?$/.exec(match)?.[1]
  if (version === undefined)
    return err(failure('invalid_input', 'If-Match: must be the version of the object, such as "7"', { field: 'If-Match' }))
  return ok({
    idempotencyKey: route.mutation && typeof key === 'string' ? key : null,
    ifVersion: version === null ? null : Number(version),
  })
}

/** A caller of the whole platform may narrow itself to one organisation; one of an organisation stays there. */
async function readScope(deps: ApiDeps, caller: Caller, header: string | string[] | undefined): Promise<Result<OrgScope, Failure>> {
  if (header === undefined) return ok(caller.scope)
  const ref = String(header)
  if (ref.length > 128) return err(failure('invalid_input', 'Holdfast-Org: must be an organisation name or id', { field: 'Holdfast-Org' }))
  const found = await findOrg(deps.store.db, ref, caller.scope)
  return found.ok ? ok(found.value.id) : found
}

export function unwrap<T>(result: Result<T, Failure>): T {
  if (!result.ok) throw new HoldfastError(result.error)
  return result.value
}

function requestIdOf(deps: ApiDeps, given: string | string[] | undefined): string {
  const parsed = RequestId.safeParse(given)
  return parsed.success ? parsed.data : newId.request(deps.random)
}

/** Aborted when the client is gone, and when the server closes. */
function goneSignal(reply: FastifyReply, closing: AbortSignal): AbortSignal {
  const controller = new AbortController()
  const stop = () => controller.abort()
  if (closing.aborted) stop()
  closing.addEventListener('abort', stop, { once: true })
  reply.raw.once('close', () => {
    closing.removeEventListener('abort', stop)
    stop()
  })
  return controller.signal
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'])

function measure(deps: ApiDeps, request: FastifyRequest, reply: FastifyReply): void {
  const route = request.routeOptions.url ?? 'unmatched'
  const labels = {
    route,
    method: METHODS.has(request.method) ? request.method : 'other',
    status: `${Math.floor(reply.statusCode / 100)}xx`,
  }
  deps.meter.count('http_requests_total', labels)
  if (!UNTIMED_PATHS.has(route)) deps.meter.observe('http_request_duration_seconds', reply.elapsedTime / 1000, labels)
  deps.log.debug('request', {
    request_id: request.id,
    method: request.method,
    route,
    status: reply.statusCode,
    duration_ms: Math.round(reply.elapsedTime),
  })
}
