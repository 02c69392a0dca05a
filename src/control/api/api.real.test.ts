import { describe, expect, test } from 'vitest'
import { answer, apiServer, launch, post, problem } from '../../../tests/support/api-server.ts'
import { factsOf, nodeId, USAGE } from '../../../tests/support/control-records.ts'
import { describeStores, must, type StoreBench } from '../../../tests/support/stores.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { ROUTES, type Route } from '../../contracts/routes.ts'
import { openSession } from '../store/nodes.ts'

describeStores('API', (bench) => {
  describe('who may do what', () => callers(bench))
  describe('instances', () => instances(bench))
  describe('idempotency', () => idempotency(bench))
  describe('the other resources', () => others(bench))
})

function callers(bench: StoreBench) {
  test('without a token, with a wrong one or a malformed one nothing is answered, on every route', async () => {
    const { url } = await apiServer(bench)
    for (const route of Object.values<Route>(ROUTES).filter((one) => one.role !== null)) {
      const path = route.path.replace(':id', 'x')
      for (const authorization of [undefined, 'Bearer wrong-token-here', 'Basic abc', 'Bearer']) {
        const response = await fetch(`${url}${path}`, { method: route.method, ...(authorization && { headers: { authorization } }) })
        expect(await problem(response), `${route.method} ${path}`).toMatchObject({ status: 401, code: 'unauthenticated' })
        expect(response.headers.get('www-authenticate')).toBe('Bearer')
      }
    }
  })

  test('a viewer changes nothing and an agent token opens nothing, on every route', async () => {
    const { url, tokens } = await apiServer(bench)
    for (const route of Object.values<Route>(ROUTES).filter((one) => one.role !== null)) {
      const call = (token: string) =>
        fetch(`${url}${route.path.replace(':id', 'x')}`, { method: route.method, headers: { authorization: `Bearer ${token}` } })
      expect(await problem(await call(tokens.agent)), route.path).toMatchObject({ status: 403, code: 'forbidden' })
      if (route.role === 'operator')
        expect(await problem(await call(tokens.viewer)), route.path).toMatchObject({ status: 403, needed: 'operator' })
    }
  })

  test('C36: what belongs to another organisation does not exist', async () => {
    const { as } = await apiServer(bench)
    const mine = must(await as('operator').call('createInstance', { body: launch({ name: 'web' }) }))
    const theirs = must(await as('otherOperator').call('createInstance', { body: launch({ name: 'web' }) }))
    expect(theirs.org_id).not.toBe(mine.org_id)
    const other = as('otherOperator')
    const gone = { ok: false, error: { code: 'not_found' } }
    const params = { id: mine.id }
    expect(await other.call('getInstance', { params })).toMatchObject(gone)
    expect(await other.call('whyInstance', { params })).toMatchObject(gone)
    expect(await other.call('historyInstance', { params })).toMatchObject(gone)
    expect(await other.call('statsInstance', { params })).toMatchObject(gone)
    expect(await other.call('instanceEvents', { params })).toMatchObject(gone)
    expect(await other.call('listEvents', { query: { instance: mine.id } })).toMatchObject(gone)
    expect(await other.call('deleteInstance', { params })).toMatchObject(gone)
    expect(await other.call('putMetadata', { params, body: { labels: { a: 'b' } } })).toMatchObject(gone)
    expect(await other.stream('logsInstance', { params }, () => {})).toMatchObject(gone)
    expect(await other.stream('execInstance', { params, body: { command: ['x'] } }, () => {})).toMatchObject(gone)
    expect(must(await other.call('listInstances', {})).items.map((one) => one.id)).toEqual([theirs.id])
    const seen = must(await other.call('listEvents', { query: { limit: 200 } })).items
    expect(seen.filter((event) => event.instance_id === mine.id)).toEqual([])
    expect(must(await other.call('listAudit', { query: { limit: 200 } })).items.every((row) => row.org_id === theirs.org_id)).toBe(true)
    expect(must(await as('operator').call('getInstance', { params })).desired.state).toBe('running')
  })

  test('a token of one organisation does not act for the platform or for another one', async () => {
    const { as, url, tokens } = await apiServer(bench)
    const other = as('otherOperator')
    expect(await other.call('createOrg', { body: { name: 'third' } })).toMatchObject({ ok: false, error: { code: 'forbidden' } })
    expect(must(await other.call('listOrgs', {})).items.map((org) => org.name)).toEqual(['other'])
    expect(await other.call('createToken', { body: { name: 'x', role: 'operator', org: 'default' } })).toMatchObject({
      ok: false,
      error: { code: 'not_found' },
    })
    const made = must(await other.call('createToken', { body: { name: 'x', role: 'viewer' } }))
    expect(made.org_id).toBe(must(await other.call('listOrgs', {})).items[0]!.id)
    const elsewhere = await fetch(`${url}/v1/instances`, {
      headers: { authorization: `Bearer ${tokens.otherOperator}`, 'holdfast-org': 'default' },
    })
    expect(await problem(elsewhere)).toMatchObject({ status: 404 })
  })

  test('nobody passes for somebody else in the audit log by the name of a token', async () => {
    const { as, url } = await apiServer(bench)
    const namesake = must(await as('otherOperator').call('createToken', { body: { name: 'operator', role: 'operator' } }))
    const headers = { authorization: `Bearer ${namesake.secret}`, 'content-type': 'application/json' }
    const made = await answer(await fetch(`${url}/v1/instances`, { method: 'POST', headers, body: JSON.stringify(launch()) }))
    must(await as('operator').call('deleteInstance', { params: { id: String(made.id) } }))
    const audit = must(await as('operator').call('listAudit', {})).items.filter((row) => row.target === made.id)
    expect(audit.map((row) => [row.actor, row.action])).toEqual([
      ['token:operator', 'deleteInstance'],
      [`token:${namesake.org_id}/operator`, 'createInstance'],
    ])
  })

  test('the operator of the platform sees everything, and narrows itself with Holdfast-Org', async () => {
    const { as, fetch: raw, defaultOrg } = await apiServer(bench)
    must(await as('otherOperator').call('createInstance', { body: launch({ name: 'theirs' }) }))
    const made = must(await as('operator').call('createInstance', { body: launch({ name: 'ours' }) }))
    expect(made.org_id).toBe(defaultOrg)
    expect(must(await as('operator').call('listInstances', {})).items).toHaveLength(2)
    const narrowed = await raw('/v1/instances', { headers: { 'holdfast-org': 'other' } })
    expect((await answer(narrowed)).items).toMatchObject([{ name: 'theirs' }])
    const created = await raw('/v1/instances', post(launch({ name: 'second' }), { 'holdfast-org': 'other' }))
    expect((await answer(created)).org_id).not.toBe(defaultOrg)
  })

  test('a revoked token stops at once, and its secret is shown only once', async () => {
    const { as, url, fetch: raw } = await apiServer(bench)
    const key = { 'idempotency-key': 'make-a-token-1' }
    const first = await answer(await raw('/v1/tokens', post({ name: 'ci', role: 'viewer' }, key)))
    const again = await answer(await raw('/v1/tokens', post({ name: 'ci', role: 'viewer' }, key)))
    expect(first.secret).toMatch(/^hft_[0-9a-z]{40}$/)
    expect(again).toEqual({ ...first, secret: '' })
    const call = () => fetch(`${url}/v1/instances`, { headers: { authorization: `Bearer ${first.secret}` } })
    expect((await call()).status).toBe(200)
    expect(JSON.stringify(must(await as('operator').call('listTokens', {})))).not.toContain(first.secret)
    expect(must(await as('operator').call('deleteToken', { params: { id: 'ci' } }))).toBeUndefined()
    expect(await problem(await call())).toMatchObject({ code: 'unauthenticated' })
  })

  test('the token in use is not revoked by its own request, unless that is forced', async () => {
    const { as } = await apiServer(bench)
    const own = { params: { id: 'operator' } }
    expect(await as('operator').call('deleteToken', own)).toMatchObject({
      ok: false,
      error: { code: 'lockout', fields: { own: true, last: true } },
    })
    must(await as('operator').call('listTokens', {}))
    must(await as('operator').call('deleteToken', { ...own, query: { force: 'true' } }))
    expect(await as('operator').call('listTokens', {})).toMatchObject({ ok: false, error: { code: 'unauthenticated' } })
  })
}

function instances(bench: StoreBench) {
  test('C1: create, show by id, name and prefix, list, page, select, delete', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const made = must(
      await operator.call('createInstance', {
        body: { ...launch(), name: 'web', labels: { app: 'shop', tier: 'web' }, metadata: { note: 'free text ü' } },
      }),
    )
    expect(made).toMatchObject({
      name: 'web',
      runtime: 'fake',
      state: 'pending',
      reason: 'waiting_for_node',
      incarnation: 0,
      desired: { state: 'running', generation: 1, observed_generation: 0, spec: { runtime: 'fake', memory: '64Mi', cpu: 1 } },
      node_id: null,
      labels: { app: 'shop', tier: 'web' },
      metadata: { note: 'free text ü' },
      version: 1,
    })
    for (const id of [made.id, 'web', made.id.slice(0, 20)])
      expect(must(await operator.call('getInstance', { params: { id } })).id).toBe(made.id)
    const others = []
    for (const name of ['a', 'b', 'c'])
      others.push(must(await operator.call('createInstance', { body: { ...launch(), name, labels: { app: 'shop' } } })))
    const named = must(await operator.call('createInstance', { body: launch() }))
    expect(named.name).toMatch(/^fake-[0-9a-z]{5}$/)
    expect(await operator.call('createInstance', { body: { ...launch(), name: 'web' } })).toMatchObject({
      ok: false,
      error: { code: 'name_taken', fields: { name: 'web' } },
    })
    const ids = async (query: object) => must(await operator.call('listInstances', { query })).items.map((one) => one.name)
    expect(await ids({ selector: 'app=shop,!tier' })).toEqual(['c', 'b', 'a'])
    expect(await ids({ selector: 'tier in (web)', state: 'pending' })).toEqual(['web'])
    expect(await ids({ name: 'b' })).toEqual(['b'])
    expect(await ids({ env_id: 'env_00000000000000000000' })).toEqual([])
    const first = must(await operator.call('listInstances', { query: { limit: 2, selector: 'app' } }))
    const second = must(await operator.call('listInstances', { query: { limit: 2, selector: 'app', cursor: first.next_cursor! } }))
    expect([...first.items, ...second.items].map((one) => one.name)).toEqual(['c', 'b', 'a', 'web'])
    expect(second.next_cursor).toBeNull()
    expect(must(await operator.call('deleteInstance', { params: { id: 'web' } })).state).toBe('deleted')
    expect(await operator.call('getInstance', { params: { id: 'web' } })).toMatchObject({ ok: false, error: { code: 'not_found' } })
    expect(must(await operator.call('getInstance', { params: { id: made.id } })).state).toBe('deleted')
    expect(await ids({ include_deleted: true, name: 'web' })).toEqual(['web'])
    expect(await ids({ state: 'deleted' })).toEqual(['web'])
  })

  test('T34, C30: verbs: each wish raises the generation once, a wish that already holds changes nothing, what cannot be is refused', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const { id } = must(await operator.call('createInstance', { body: launch() }))
    const params = { id }
    const after = async (
      name: 'startInstance' | 'stopInstance' | 'restartInstance' | 'recoverInstance' | 'pauseInstance' | 'resumeInstance' | 'resetInstance',
    ) => {
      const done = await operator.call(name, { params })
      return done.ok ? [done.value.desired.state, done.value.desired.generation] : done.error.code
    }
    expect(await after('startInstance')).toEqual(['running', 1])
    expect(await after('stopInstance')).toEqual(['stopped', 2])
    expect(await after('stopInstance')).toEqual(['stopped', 2])
    expect(await after('recoverInstance')).toBe('wrong_state')
    expect(await after('pauseInstance')).toBe('wrong_state')
    expect(await after('startInstance')).toEqual(['running', 3])
    expect(await after('pauseInstance')).toEqual(['paused', 4])
    expect(await after('resumeInstance')).toEqual(['running', 5])
    expect(await after('restartInstance')).toEqual(['running', 6])
    // Its first start is on its way: joined.
    expect(await after('recoverInstance')).toEqual(['running', 6])
    expect(await after('resetInstance')).toBe('unsupported')
    must(await operator.call('deleteInstance', { params }))
    expect(await after('startInstance')).toBe('not_found')
  })

  test('C7, C8, C10: labels and metadata: merge, replace, null deletes, limits, If-Match, audited with the actor', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const { id } = must(await operator.call('createInstance', { body: { ...launch(), labels: { a: '1', b: '2' }, metadata: { x: 'y' } } }))
    const params = { id }
    const merged = must(await operator.call('putMetadata', { params, body: { labels: { a: null, c: '3' } }, ifMatch: 1 }))
    expect(merged).toMatchObject({ labels: { b: '2', c: '3' }, metadata: { x: 'y' }, version: 2, desired: { generation: 1 } })
    expect(await operator.call('putMetadata', { params, body: { labels: { d: '4' } }, ifMatch: 1 })).toMatchObject({
      ok: false,
      error: { code: 'version_conflict', fields: { expected: 1, version: 2 } },
    })
    expect(must(await operator.call('putMetadata', { params, query: { mode: 'replace' }, body: { metadata: { z: 'w' } } }))).toMatchObject({
      labels: { b: '2', c: '3' },
      metadata: { z: 'w' },
    })
    expect(await operator.call('putMetadata', { params, body: {} })).toMatchObject({ ok: false, error: { code: 'invalid_input' } })
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`k${index}`, 'v']))
    expect(await operator.call('putMetadata', { params, body: { labels: many } })).toMatchObject({
      ok: false,
      error: { code: 'invalid_input' },
    })
    const audit = must(await operator.call('listAudit', {})).items.filter((row) => row.action === 'putMetadata')
    expect(audit.map((row) => [row.actor, row.target, row.outcome])).toEqual([
      ['token:operator', id, 'refused'],
      ['token:operator', id, 'accepted'],
      ['token:operator', id, 'refused'],
      ['token:operator', id, 'accepted'],
    ])
  })

  test('why, history and events of one instance', async () => {
    const { as } = await apiServer(bench)
    const viewer = as('viewer')
    const { id } = must(await as('operator').call('createInstance', { body: { ...launch(), name: 'web' } }))
    expect(must(await viewer.call('whyInstance', { params: { id: 'web' } }))).toMatchObject({
      instance_id: id,
      summary: 'There is no node yet that could run it.',
      difference: 'It should be running and is pending.',
    })
    must(await as('operator').call('stopInstance', { params: { id } }))
    const events = must(await viewer.call('instanceEvents', { params: { id } })).items
    expect(events.map((event) => event.type)).toEqual(['instance.created', 'instance.desired_changed'])
    expect(must(await viewer.call('historyInstance', { params: { id } })).attempts).toEqual([])
  })
}

function idempotency(bench: StoreBench) {
  test('ten concurrent duplicates execute once and all get the same answer', async () => {
    const { as, fetch: raw } = await apiServer(bench)
    const send = () => raw('/v1/instances', post({ ...launch(), name: 'once' }, { 'idempotency-key': 'the-same-key' }))
    const responses = await Promise.all(Array.from({ length: 10 }, send))
    expect(responses.map((response) => response.status)).toEqual(Array(10).fill(202))
    const ids = await Promise.all(responses.map(async (response) => (await answer(response)).id))
    expect(new Set(ids).size).toBe(1)
    expect(responses.filter((response) => response.headers.get('idempotency-replayed') === 'true')).toHaveLength(9)
    expect(must(await as('operator').call('listInstances', {})).items).toHaveLength(1)
    expect(must(await as('operator').call('listAudit', {})).items.filter((row) => row.action === 'createInstance')).toHaveLength(1)
  })

  test('the same key for another request is refused, for another token it is another key', async () => {
    const { fetch: raw, as } = await apiServer(bench)
    const headers = { 'idempotency-key': 'the-same-key' }
    expect((await raw('/v1/instances', post({ ...launch(), name: 'one' }, headers))).status).toBe(202)
    expect(await problem(await raw('/v1/instances', post({ ...launch(), name: 'two' }, headers)))).toMatchObject({
      status: 409,
      code: 'idempotency_conflict',
    })
    expect(
      (await as('otherOperator').call('createInstance', { body: { ...launch(), name: 'two' }, idempotencyKey: 'the-same-key' })).ok,
    ).toBe(true)
  })

  test('a refusal is not remembered: the same key succeeds once the cause is gone', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const first = must(await operator.call('createInstance', { body: { ...launch(), name: 'web' } }))
    const again = () => operator.call('createInstance', { body: { ...launch(), name: 'web' }, idempotencyKey: 'second-try' })
    expect(await again()).toMatchObject({ ok: false, error: { code: 'name_taken' } })
    must(await operator.call('deleteInstance', { params: { id: first.id } }))
    expect(must(await again()).name).toBe('web')
  })
}

function others(bench: StoreBench) {
  test('nodes: list, show, cordon, uncordon', async () => {
    const { as, store } = await apiServer(bench)
    const operator = as('operator')
    must(
      await store.write('system:test', (tx) =>
        openSession(tx, { nodeId: nodeId('node-a'), bootId: 'b', facts: factsOf(), usage: USAGE, replica: store.replica }),
      ),
    )
    expect(must(await as('viewer').call('listNodes', {})).items).toMatchObject([
      { id: 'node-a', state: 'ready', connected: true, instances: 0 },
    ])
    const placed = must(await operator.call('createInstance', { body: launch({ memory: '64Mi' }) }))
    must(await store.write('system:test', (tx) => tx.placeInstance(InstanceId.parse(placed.id), nodeId('node-a'))))
    const count = async (who: 'operator' | 'otherOperator') => {
      const [listed] = must(await as(who).call('listNodes', {})).items
      const one = must(await as(who).call('getNode', { params: { id: 'node-a' } }))
      expect(one).toMatchObject({ instances: listed?.instances, reserved_memory_bytes: listed?.reserved_memory_bytes })
      return [one.instances, one.reserved_memory_bytes]
    }
    expect(await count('operator')).toEqual([1, 64 * 2 ** 20])
    // What another organisation has there does not exist.
    expect(await count('otherOperator')).toEqual([0, 0])
    expect(must(await operator.call('cordonNode', { params: { id: 'node-a' } })).state).toBe('cordoned')
    expect(must(await operator.call('getNode', { params: { id: 'node' } })).state).toBe('cordoned')
    expect(must(await operator.call('uncordonNode', { params: { id: 'node-a' } })).state).toBe('ready')
    expect(await operator.call('cordonNode', { params: { id: 'nope' } })).toMatchObject({ ok: false, error: { code: 'not_found' } })
    expect(await as('otherOperator').call('cordonNode', { params: { id: 'node-a' } })).toMatchObject({
      ok: false,
      error: { code: 'forbidden' },
    })
  })

  test('deploy, list and delete an env; a wrong manifest names its key', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const manifest = {
      schema_version: 'v1',
      app: { name: 'shop' },
      processes: { web: { command: ['sleep', '60'], resources: { memory: '64Mi' }, scaling: { min: 2 } } },
    }
    const deployed = must(await operator.call('deploy', { body: { manifest } }))
    expect(deployed).toMatchObject({ app: 'shop', env: 'prod', state: 'converging', processes: [{ name: 'web', wanted: 2, running: 0 }] })
    expect(must(await operator.call('listEnvs', { query: { app: 'shop' } })).items).toEqual([deployed])
    expect(await operator.call('deploy', { body: { manifest: { ...manifest, nope: 1 } } })).toMatchObject({
      ok: false,
      error: { code: 'invalid_manifest', fields: { field: 'nope' } },
    })
    expect(must(await operator.call('deleteEnv', { params: { id: 'shop/prod' } })).processes).toEqual([])
    expect(must(await as('otherOperator').call('listEnvs', {})).items).toEqual([])
  })

  test('health, metrics, document and first page need no token here', async () => {
    const { url, as } = await apiServer(bench)
    const health = await answer(await fetch(`${url}/health`))
    expect(health).toMatchObject({
      status: 'degraded',
      checks: { store: { status: 'healthy' }, agents: { status: 'degraded', detail: 'no agent has connected yet' } },
    })
    must(await as('operator').call('createInstance', { body: launch() }))
    await fetch(`${url}/v1/instances`)
    const metrics = await fetch(`${url}/metrics`)
    const text = await metrics.text()
    expect(metrics.headers.get('content-type')).toContain('text/plain')
    expect(text).toContain('holdfast_http_requests_total{route="/v1/instances",method="GET",status="4xx"} 1')
    expect(text).toContain('holdfast_errors_total{code="unauthenticated"} 1')
    expect(text).toContain('holdfast_agents_connected 0')
    expect(text).toContain('holdfast_instances{runtime="fake",state="pending"} 1')
    expect((await answer(await fetch(`${url}/openapi.json`))).openapi).toBe('3.1.0')
    expect(await (await fetch(url)).text()).toContain('Holdfast')
  })

  test('B37: a part that fails degrades, the store that fails makes it 503', async () => {
    const checks = { loops: async () => ({ status: 'unhealthy' as const, detail: 'stuck' }), broken: () => Promise.reject(new Error('no')) }
    const { url, store } = await apiServer(bench, { checks })
    const degraded = await fetch(`${url}/health`)
    expect(degraded.status).toBe(200)
    expect(await answer(degraded)).toMatchObject({
      status: 'degraded',
      checks: { loops: { detail: 'stuck' }, broken: { status: 'unhealthy' } },
    })
    await store.close()
    const down = await fetch(`${url}/health`)
    expect(down.status).toBe(503)
    expect(await answer(down)).toMatchObject({ status: 'unhealthy', checks: { store: { status: 'unhealthy' } } })
  })
}
