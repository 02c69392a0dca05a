// The API on a real store, without loops: nothing happens but what a test asks for. Closed when the test ends.

import { expect, onTestFinished } from 'vitest'
import { z } from 'zod'
import { silentLogger } from '../../src/base/log.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { type Client, createClient } from '../../src/client/client.ts'
import { DEFAULT_GC, type GcConfig } from '../../src/contracts/gc-config.ts'
import { newId, type OrgId } from '../../src/contracts/ids.ts'
import type { Role } from '../../src/contracts/routes.ts'
import type { InstanceInput } from '../../src/contracts/spec.ts'
import { Problem } from '../../src/contracts/views.ts'
import { type Api, createApi } from '../../src/control/api/api.ts'
import { hashSecret } from '../../src/control/api/caller.ts'
import type { ApiDeps, ApiLimits } from '../../src/control/api/deps.ts'
import { LIMITS } from '../../src/control/limits.ts'
import { bootstrap, createOrg, createToken } from '../../src/control/store/orgs.ts'
import type { Store } from '../../src/control/store/store.ts'
import { createTelemetry } from '../../src/telemetry/meter.ts'
import { must, type StoreBench } from './stores.ts'

export interface ApiServer {
  readonly api: Api
  readonly store: Store
  readonly url: string
  readonly defaultOrg: OrgId
  /** Secrets by what they may do; those of `other` belong to an organisation of that name. */
  readonly tokens: Readonly<Record<'operator' | 'viewer' | 'agent' | 'otherOperator', string>>
  as(token: keyof ApiServer['tokens'] | null): Client
  /** A raw request as the operator. */
  fetch(path: string, init?: RequestInit): Promise<Response>
}

export interface ApiServerOptions {
  readonly store?: Store
  readonly limits?: Partial<ApiLimits>
  readonly gc?: GcConfig
  readonly checks?: ApiDeps['checks']
  readonly log?: ApiDeps['log']
}

export async function apiServer(bench: Pick<StoreBench, 'store'>, given: ApiServerOptions = {}): Promise<ApiServer> {
  const store = given.store ?? (await bench.store())
  const tokens = {
    operator: 'test-operator-secret',
    viewer: 'test-viewer-secret',
    agent: 'test-agent-secret',
    otherOperator: 'test-other-secret',
  }
  const newToken = (name: string, role: Role, secret: string, orgId: OrgId | null = null) => ({
    id: newId.token(systemClock, systemRandom),
    name,
    role,
    orgId,
    hash: hashSecret(secret),
  })
  const otherOrg = newId.org(systemClock, systemRandom)
  const org = must(
    await store.write('system:test', async (tx) => {
      const made = await bootstrap(tx, {
        orgId: newId.org(systemClock, systemRandom),
        tokens: [
          newToken('operator', 'operator', tokens.operator),
          newToken('viewer', 'viewer', tokens.viewer),
          newToken('agent', 'agent', tokens.agent),
        ],
      })
      await createOrg(tx, { id: otherOrg, name: 'other' })
      await createToken(tx, newToken('other-operator', 'operator', tokens.otherOperator, otherOrg))
      return made
    }),
  )
  const telemetry = createTelemetry({ namespace: 'holdfast' })
  const api = await createApi({
    store,
    clock: systemClock,
    random: systemRandom,
    log: given.log ?? silentLogger,
    meter: telemetry.meter,
    limits: { ...LIMITS, ...given.limits },
    gc: given.gc ?? DEFAULT_GC,
    version: '0.0.0',
    defaultOrg: org.id,
    renderMetrics: telemetry.render,
    checks: given.checks ?? {},
  })
  onTestFinished(() => api.close())
  const url = must(await api.listen({ host: '127.0.0.1', port: 0 }))
  return {
    api,
    store,
    url,
    defaultOrg: org.id,
    tokens,
    as: (token) =>
      createClient({ url, token: token === null ? null : tokens[token], clock: systemClock, random: systemRandom, retryMs: 0 }),
    fetch: (path, init = {}) =>
      fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${tokens.operator}`, ...init.headers } }),
  }
}

/** The smallest instance that is accepted. */
export const launch = (given: InstanceInput = {}): InstanceInput => ({ runtime: 'fake', memory: '64Mi', ...given })

export const post = (value: unknown, headers: Readonly<Record<string, string>> = {}): RequestInit => ({
  method: 'POST',
  body: JSON.stringify(value),
  headers: { 'content-type': 'application/json', ...headers },
})

/** The JSON object of an answer. */
export const answer = async (response: Response): Promise<Readonly<Record<string, unknown>>> =>
  z.looseObject({}).parse(await response.json())

/** The answer as a problem: its media type and shape are right, and status line, document and request id agree. */
export async function problem(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const given = Problem.parse(await response.json())
  expect(given.status).toBe(response.status)
  expect(given.request_id).toBe(response.headers.get('x-request-id'))
  return given
}
