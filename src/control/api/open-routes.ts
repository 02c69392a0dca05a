// What is answered without a caller: health, the API description, the first page; and metrics, which need none on loopback.
import type { FastifyInstance } from 'fastify'
import { isLoopback } from '../../base/loopback.ts'
import { HoldfastError } from '../../contracts/errors.ts'
import { ROUTES } from '../../contracts/routes.ts'
import { type Callers, refuseRole } from './caller.ts'
import type { ApiDeps } from './deps.ts'
import type { Figures } from './figures.ts'
import { checkHealth } from './health.ts'
import type { Link } from './link.ts'
import { unwrap } from './server.ts'
import { withinStoreTime } from './store-time.ts'

export function addOpenRoutes(
  app: FastifyInstance,
  deps: ApiDeps,
  parts: { readonly link: Link; readonly callers: Callers; readonly figures: Figures; readonly schema: object },
): void {
  app.get(ROUTES.health.path, { schema: parts.schema }, async (_, reply) => {
    const health = await checkHealth(deps, parts.link)
    return reply
      .code(health.status === 'unhealthy' ? 503 : 200)
      .type('application/json; charset=utf-8')
      .send(JSON.stringify(health))
  })
  app.get('/metrics', { schema: { hide: true } }, async (request, reply) => {
    if (!isLoopback(request.socket.remoteAddress)) {
      const caller = unwrap(await withinStoreTime(deps, parts.callers.identify(request.headers.authorization), false))
      const refused = refuseRole(caller, 'viewer')
      if (refused) throw new HoldfastError(refused)
    }
    await parts.figures.refresh()
    return reply.type('text/plain; version=0.0.4; charset=utf-8').send(await deps.renderMetrics())
  })
  app.get('/openapi.json', { schema: { hide: true } }, async (_, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify(app.swagger())),
  )
  app.get('/', { schema: { hide: true } }, async (_, reply) =>
    reply
      .type('text/plain; charset=utf-8')
      .send(
        [
          `Holdfast ${deps.version} control plane`,
          '',
          'API         /v1/…           bearer token; docs/api.md, /openapi.json',
          'health      /health',
          'metrics     /metrics',
          'by hand     holdfast list, holdfast why ID, holdfast --help',
          '',
        ].join('\n'),
      ),
  )
}
