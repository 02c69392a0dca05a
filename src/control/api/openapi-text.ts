import Fastify from 'fastify'
import { ROUTES, type RouteName } from '../../contracts/routes.ts'
import { addOpenApi, schemaOf } from './openapi.ts'

/** The document as it is committed: made without a store, without listening. */
export async function openApiText(version: string): Promise<string> {
  const app = Fastify()
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  await addOpenApi(app, version)
  for (const name of Object.keys(ROUTES) as RouteName[]) {
    const { method, path } = ROUTES[name]
    app.route({ method, url: path, schema: schemaOf(name), handler: async () => undefined })
  }
  await app.ready()
  const text = `${JSON.stringify(app.swagger(), null, 2)}\n`
  await app.close()
  return text
}
