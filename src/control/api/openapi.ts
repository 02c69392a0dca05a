// The OpenAPI document, from the same table and schemas that answer the requests.
import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { LINK_PATH } from '../../contracts/agent-protocol.ts'
import { ROUTES, type Route, type RouteName } from '../../contracts/routes.ts'
import { InstanceInput } from '../../contracts/spec.ts'
import * as views from '../../contracts/views.ts'

const registry = z.registry<{ id: string }>()
for (const [id, schema] of Object.entries({
  // What is sent gets the suffix Input from the library: LaunchInput.
  Launch: InstanceInput,
  Instance: views.InstanceView,
  Why: views.WhyView,
  History: views.HistoryView,
  Stats: views.StatsView,
  Event: views.EventView,
  Audit: views.AuditView,
  Node: views.NodeView,
  Organisation: views.OrgView,
  Token: views.TokenView,
  EnvStatus: views.EnvStatusView,
  Health: views.HealthView,
  Error: views.ErrorView,
  Problem: views.Problem,
}))
  registry.add(schema, { id })

/** Must be registered before the routes. */
export async function addOpenApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Holdfast',
        version,
        description: [
          'Runs workloads on machines you own, keeps them running, and can say why. Times are RFC 3339 UTC, durations in fields ending `_ms`, sizes in bytes.',
          'Errors are application/problem+json with `code`, `detail`, `hint`, `retryable` and named fields; docs/errors.md lists the codes. Unknown fields are refused.',
          `Agents connect to ${LINK_PATH} over a WebSocket, which is not described here.`,
        ].join(' '),
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: createJsonSchemaTransform({ schemaRegistry: registry }),
    transformObject: (given) => withoutUnused(toObject(given)),
  })
}

const toObject = createJsonSchemaTransformObject({ schemaRegistry: registry })

/** The library writes each schema twice, as sent and as answered; only what some route refers to stays. */
function withoutUnused<Document extends { readonly paths?: unknown; readonly components?: { readonly schemas?: Record<string, unknown> } }>(
  document: Document,
): Document {
  const schemas = document.components?.schemas ?? {}
  const used = new Set<string>()
  const follow = (value: unknown) => {
    for (const [, name] of JSON.stringify(value ?? null).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      if (name === undefined || used.has(name)) continue
      used.add(name)
      follow(schemas[name])
    }
  }
  follow(document.paths)
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)))
  return { ...document, components: { ...document.components, schemas: kept } }
}

const IdempotencyKey = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{8,128}$/)
    .optional()
    .describe('Repeating the request with the same key within a day executes it once and gives the same answer.'),
})
const IfMatch = z.object({
  'if-match': z.string().optional().describe('The version the object must still have, quoted; 412 when it has not.'),
})
const TAGS: readonly (readonly [RegExp, string])[] = [
  [/^\/v1\/instances/, 'instances'],
  [/^\/v1\/(events|audit)/, 'events'],
  [/^\/v1\/nodes/, 'nodes'],
  [/^\/v1\/(orgs|tokens)/, 'organisations'],
  [/^\/v1\/(deploys|envs)/, 'envs'],
  [/./, 'operate'],
]

/** What Fastify is told of a route; only the document reads it. */
export function schemaOf(name: RouteName): object {
  const route: Route = ROUTES[name]
  const problem = { description: 'A problem; `code` says which', content: { 'application/problem+json': { schema: views.Problem } } }
  const headers = name === 'putMetadata' ? IdempotencyKey.extend(IfMatch.shape) : route.mutation ? IdempotencyKey : undefined
  return {
    operationId: name,
    summary: route.summary,
    tags: [TAGS.find(([pattern]) => pattern.test(route.path))?.[1] ?? 'operate'],
    ...(route.role === null ? { security: [] } : { description: `Needs the role ${route.role}.` }),
    ...(route.params && { params: route.params }),
    ...(route.query && { querystring: route.query }),
    ...(route.body && { body: route.body }),
    ...(headers && { headers }),
    response: { [route.status]: success(name, route), default: problem },
  }
}

function success(name: RouteName, route: Route): object {
  if (route.stream === 'ndjson')
    return { description: 'One JSON document per line', content: { 'application/x-ndjson': { schema: views.StreamLine } } }
  if (route.out === null) return z.null().describe('Done')
  const json = { 'application/json': { schema: route.out } }
  if (name !== 'listEvents') return { description: 'OK', content: json }
  return { description: 'A page, or the stream', content: { ...json, 'text/event-stream': { schema: z.string() } } }
}
