// The API, put together: callers, resources, event stream, agent link, document.

import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { errnoOf } from '../../base/errno.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { auditHandlers } from './audit.ts'
import { createCallers } from './caller.ts'
import type { ApiDeps } from './deps.ts'
import { Connections } from './drain.ts'
import { envHandlers } from './envs.ts'
import { EventTail } from './event-tail.ts'
import { eventHandlers } from './events.ts'
import { Figures } from './figures.ts'
import { gcHandlers } from './gc.ts'
import { verbHandlers } from './instance-verbs.ts'
import { instanceHandlers } from './instances.ts'
import { Link } from './link.ts'
import { modeHandlers } from './modes.ts'
import { createNodeCache } from './node-cache.ts'
import { nodeHandlers } from './nodes.ts'
import { addOpenRoutes } from './open-routes.ts'
import { addOpenApi, schemaOf } from './openapi.ts'
import { orgHandlers } from './orgs.ts'
import { outputHandlers } from './output.ts'
import { addRoutes, buildServer } from './server.ts'

export interface Api {
  readonly app: FastifyInstance
  readonly link: Link
  /** Listens and returns the URL with the port in fact. Port 0 = any. */
  listen(address: { readonly host: string; readonly port: number }): Promise<Result<string, Failure>>
  /** Ends streams, agent sessions and connections. */
  close(): Promise<void>
}

export async function createApi(deps: ApiDeps): Promise<Api> {
  const app = buildServer(deps)
  const connections = new Connections(app.server)
  await addOpenApi(app, deps.version)
  const closing = new AbortController()
  const callers = createCallers(deps)
  const tail = new EventTail(deps)
  const nodes = createNodeCache(deps)
  const link = new Link(deps, callers)
  const { instanceEvents, listEvents } = eventHandlers({ ...deps, tail })
  const { statsInstance, logsInstance, execInstance } = outputHandlers({ ...deps, link })
  const handlers = {
    ...instanceHandlers({ ...deps, nodes, link, storeBlocked: () => deps.store.blocked() }),
    ...verbHandlers({ ...deps, link }),
    ...modeHandlers(deps),
    ...nodeHandlers({ ...deps, link }),
    ...orgHandlers(deps, callers),
    ...envHandlers({ ...deps, nodes }),
    ...auditHandlers(deps),
    ...gcHandlers({ ...deps, link }),
    instanceEvents,
    statsInstance,
  }
  addRoutes(app, deps, { callers, handlers, streams: { listEvents, logsInstance, execInstance }, closing: closing.signal }, schemaOf)
  const figures = new Figures(deps)
  addOpenRoutes(app, deps, { link, callers, figures, schema: schemaOf('health') })
  app.server.on('upgrade', (request, socket, head) => link.onUpgrade(request, socket, head))
  await app.ready()
  registerGauges(deps, link, figures)
  return {
    app,
    link,
    listen: (address) => listen(app, address),
    async close() {
      closing.abort()
      tail.close()
      nodes.close()
      await link.close()
      const stop = connections.drain(deps.clock, deps.limits.drainMs)
      await app.close()
      stop()
    },
  }
}

function registerGauges(deps: ApiDeps, link: Link, figures: Figures): void {
  deps.meter.gauge('instances', () => figures.waiting)
  deps.meter.gauge('agents_connected', () => [{ value: link.connected }])
  deps.meter.gauge('agent_last_seen_age_seconds', () => [{ value: link.oldestHeardSeconds() }])
}

async function listen(
  app: FastifyInstance,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Result<string, Failure>> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    const code = errnoOf(error) ?? ''
    const where = `${host}:${port}`
    if (code === 'EADDRINUSE')
      return err(failure('port_in_use', `${where} is already in use; give another --listen, or port 0 for any.`, { host, port }, error))
    return err(
      failure('invalid_config', `Cannot listen on ${where}${code === '' ? '' : ` (${code})`}.`, { field: 'listen', host, port }, error),
    )
  }
  return ok(urlOf(app.server.address()))
}

function urlOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === 'string') throw new Error('bug in holdfast: no address after listening')
  // A wildcard is where it listens, not where one calls.
  const host =
    address.address === '0.0.0.0'
      ? '127.0.0.1'
      : address.address === '::'
        ? '[::1]'
        : address.family === 'IPv6'
          ? `[${address.address}]`
          : address.address
  return `http://${host}:${address.port}`
}
