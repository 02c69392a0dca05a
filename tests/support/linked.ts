// An API with a fake agent on it, and instances placed there.
import type { Desired } from '../../src/contracts/agent-protocol.ts'
import { findInstance } from '../../src/control/store/instances.ts'
import { placeInstance } from '../../src/control/store/placement.ts'
import { type ApiServer, launch } from './api-server.ts'
import { nodeId } from './control-records.ts'
import { connectAgent, type FakeAgent } from './fake-agent.ts'
import { must } from './stores.ts'
import { waitFor } from './wait.ts'

const DEADLINE_MS = 10_000

export const agentOf = (server: ApiServer, given: { nodeId?: string; bootId?: string; hello?: boolean } = {}) =>
  connectAgent({ url: server.url, token: server.tokens.agent, ...given })

export async function welcomed(server: ApiServer, given: { nodeId?: string; bootId?: string } = {}): Promise<FakeAgent> {
  const agent = await agentOf(server, given)
  await agent.waitForMessage('welcome')
  return agent
}

/** A new instance, placed, and the wish as the agent heard it. */
export async function placed(server: ApiServer, agent: FakeAgent, name: string): Promise<Desired> {
  const made = must(await server.as('operator').call('createInstance', { body: launch({ name }) }))
  const id = must(await findInstance(server.store.db, made.id, null)).id
  must(await server.store.write('system:test', (tx) => placeInstance(tx, id, nodeId('node-a'))))
  return waitFor(() => agent.desired.get(id), { what: 'the wish at the agent', deadlineMs: DEADLINE_MS })
}
