// Garbage collection by hand and by agents, as the control plane sees it, with an agent played by the test.
import { expect, test } from 'vitest'
import { apiServer } from '../../../tests/support/api-server.ts'
import type { FakeAgent } from '../../../tests/support/fake-agent.ts'
import { placed, welcomed } from '../../../tests/support/linked.ts'
import { describeEmbeddedStore, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import type { AgentRequest } from '../../contracts/agent-protocol.ts'
import type { Collected } from '../../contracts/garbage.ts'
import { NOTHING_OBSERVED } from '../model/instance.ts'

const STRAY = 'inst_0000000000000000stra'
const DONE = { error: null, exitCode: null, stats: null, lostBytes: null }
const item = (change: Partial<Collected> = {}): Collected => ({
  key: 'key-00000001',
  kind: 'stray',
  reason: 'no_instance',
  id: STRAY,
  incarnation: 3,
  runtime: 'docker',
  detail: 'Nobody knows it.',
  ageMs: 700_000,
  bytes: 12,
  atMs: 1_800_000_000_000,
  ...change,
})

describeEmbeddedStore('garbage collection over the API', (bench) => {
  const answering = (agent: FakeAgent, asked: AgentRequest[]) =>
    agent.onRequest((requestId, request) => {
      asked.push(request)
      const { key: _key, atMs: _atMs, ...rest } = item()
      const gc = {
        candidates: [{ ...rest, due: false, dueInMs: 5000 }],
        collected: request.op === 'gc' && !request.dryRun ? [rest] : [],
        notes: ['docker: away'],
      }
      agent.send({ type: 'reply', requestId, ...DONE, gc })
    })

  test('looking asks each connected node without effect, collecting with it; what was asked is audited', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    const asked: AgentRequest[] = []
    answering(agent, asked)
    const shown = must(await server.as('operator').call('showGarbage', { query: { images: true } }))
    expect(shown).toMatchObject({
      candidates: [
        { node_id: 'node-a', kind: 'stray', id: STRAY, incarnation: 3, age_ms: 700_000, bytes: 12, due: false, due_in_ms: 5000 },
      ],
      collected: [],
      nodes: [{ node_id: 'node-a', notes: ['docker: away'], error: null }],
    })
    const done = must(await server.as('operator').call('collectGarbage', { body: { node: 'node-a', unknown: true } }))
    expect(done.collected).toMatchObject([{ node_id: 'node-a', id: STRAY }])
    expect(asked).toEqual([
      { op: 'gc', dryRun: true, images: true, unknown: false },
      { op: 'gc', dryRun: false, images: false, unknown: true },
    ])
    const audit = must(await server.as('operator').call('listAudit', {}))
    expect(audit.items.filter(({ action }) => action === 'collectGarbage')).toMatchObject([{ target: 'node-a', outcome: 'accepted' }])
    await agent.close()
  })

  test('a viewer looks and does not collect; a token of one organisation does neither', async () => {
    const server = await apiServer(bench)
    expect((await server.as('viewer').call('showGarbage', {})).ok).toBe(true)
    expect(await server.as('viewer').call('collectGarbage', {})).toMatchObject({ ok: false, error: { code: 'forbidden' } })
    expect(await server.as('otherOperator').call('showGarbage', {})).toMatchObject({ ok: false, error: { code: 'forbidden' } })
    expect(await server.as('operator').call('collectGarbage', { body: { node: 'nowhere' } })).toMatchObject({
      ok: false,
      error: { code: 'not_found' },
    })
  })

  test('a node that does not answer is named; asked for by name its failure is the answer', async () => {
    const server = await apiServer(bench, { limits: { gcMs: 300 } })
    const agent = await welcomed(server)
    const shown = must(await server.as('operator').call('showGarbage', {}))
    expect(shown.nodes).toMatchObject([{ node_id: 'node-a', error: { code: 'node_unreachable' } }])
    expect(await server.as('operator').call('showGarbage', { query: { node: 'node-a' } })).toMatchObject({
      ok: false,
      error: { code: 'node_unreachable' },
    })
    await agent.close()
  })

  test('a deletion that an agent tells twice is one event and one audit row; why says that it was collected', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    for (const _ of [1, 2]) {
      const before = agent.heard.length
      agent.send({
        type: 'collected',
        items: [item(), item({ key: 'key-00000002', kind: 'image', reason: 'unused', id: 'busybox:1', incarnation: null })],
      })
      await waitFor(() => agent.heard.slice(before).some(({ type }) => type === 'collected'), {
        what: 'they are stored',
        deadlineMs: 10_000,
      })
    }
    expect(agent.heard.filter(({ type }) => type === 'collected')).toEqual(
      [1, 2].map(() => ({ type: 'collected', keys: ['key-00000001', 'key-00000002'] })),
    )
    const events = must(await server.as('operator').call('listEvents', { query: { limit: 200 } })).items.filter(
      ({ type }) => type === 'resource.collected',
    )
    expect(events).toMatchObject([
      { node_id: 'node-a', instance_id: STRAY, data: { kind: 'stray', reason: 'no_instance', age_ms: 700_000, bytes: 12 } },
      { instance_id: null, data: { kind: 'image', id: 'busybox:1' } },
    ])
    const audit = must(await server.as('operator').call('listAudit', {})).items.filter(({ actor }) => actor === 'system:gc')
    expect(audit.map(({ target }) => target).sort()).toEqual(['image busybox:1', `stray ${STRAY}`])
    const why = await server.as('operator').call('whyInstance', { params: { id: STRAY } })
    expect(why).toMatchObject({ ok: false, error: { code: 'not_found' } })
    expect(why.ok ? '' : why.error.detail).toMatch(/collected at .*\(stray, no_instance\)\. Nobody knows it\./)
    await agent.close()
  })

  test('a deletion may take its evidence along: told with the wish, also after it, and asked of the node when all else is gone', async () => {
    const server = await apiServer(bench)
    const agent = await welcomed(server)
    const wish = await placed(server, agent, 'web')
    const operator = server.as('operator')
    must(await operator.call('deleteInstance', { params: { id: 'web' } }))
    await waitFor(() => agent.desired.get(wish.id)?.want === 'deleted', { what: 'the wish', deadlineMs: 10_000 })
    expect(agent.desired.get(wish.id)?.purge).toBeUndefined()
    must(await operator.call('deleteInstance', { params: { id: 'web' }, query: { purge: true } }))
    await waitFor(() => agent.desired.get(wish.id)?.purge === true, { what: 'the wish to purge', deadlineMs: 10_000 })
    const generation = agent.desired.get(wish.id)?.generation ?? 0
    const asked: AgentRequest[] = []
    agent.onRequest((requestId, request) => {
      asked.push(request)
      agent.send({ type: 'reply', requestId, ...DONE })
    })
    const phase = { kind: 'deleted', reason: 'requested', sinceMs: 1, attempt: 0, lastError: null } as const
    agent.send({
      type: 'observed',
      items: [
        {
          id: wish.id,
          generation,
          incarnation: 1,
          phase,
          ...NOTHING_OBSERVED,
          transitions: [],
        },
      ],
    })
    await waitFor(async () => must(await operator.call('getInstance', { params: { id: wish.id } })).state === 'deleted', {
      what: 'it is gone',
      deadlineMs: 10_000,
    })
    must(await operator.call('deleteInstance', { params: { id: wish.id }, query: { purge: true } }))
    expect(asked).toEqual([{ op: 'purge', instanceId: wish.id }])
    await agent.close()
    await waitFor(async () => must(await operator.call('listNodes', {})).items[0]?.connected === false, {
      what: 'it is away',
      deadlineMs: 10_000,
    })
    expect(await operator.call('deleteInstance', { params: { id: wish.id }, query: { purge: true } })).toMatchObject({
      ok: false,
      error: { code: 'node_unreachable' },
    })
  })
})
