import { expect, test } from 'vitest'
import { apiServer, launch, post, problem } from '../../../tests/support/api-server.ts'
import { factsOf, nodeId, USAGE } from '../../../tests/support/control-records.ts'
import { describeEmbeddedStore, must } from '../../../tests/support/stores.ts'
import { closeSession, openSession } from '../store/nodes.ts'

const docker = (given: object) => ({ runtime: 'docker', memory: '64Mi', ...given })

describeEmbeddedStore('bad input', (bench) => {
  test('C2: each is refused with a code, the field and nothing changed', async () => {
    const { fetch: raw, as } = await apiServer(bench)
    const send = (text: string, headers: Record<string, string> = {}) =>
      raw('/v1/instances', { method: 'POST', body: text, headers: { 'content-type': 'application/json', ...headers } })
    const refused = async (given: object) => problem(await send(JSON.stringify(given)))
    expect(await refused({ ...launch(), nmae: 'x' })).toMatchObject({ status: 400, code: 'invalid_input', field: 'nmae' })
    expect(await refused(launch({ ports: [{ internal: 80, host: -1 }] }))).toMatchObject({
      code: 'invalid_input',
      field: 'ports.0.host',
    })
    expect(await refused(launch({ memory: '512MB' }))).toMatchObject({ code: 'invalid_input', field: 'memory' })
    expect(await refused(launch({ runtime: 'process' }))).toMatchObject({ code: 'invalid_input', field: 'command' })
    expect(await refused(launch({ runtime: 'docker' }))).toMatchObject({ code: 'invalid_input', field: 'image' })
    expect(await refused(docker({ image: 'x', user_data: '#cloud-config\n- [' }))).toMatchObject({
      status: 400,
      code: 'invalid_user_data',
    })
    expect(await refused(docker({ image: 'x', user_data: `#cloud-config\n#${'x'.repeat(300 * 1024)}` }))).toMatchObject({
      status: 400,
      code: 'invalid_user_data',
      field: 'user_data',
      limit: 262_144,
    })
    expect(await refused(docker({ image: 'x', user_data: '#!/bin/sh\necho \0' }))).toMatchObject({ code: 'invalid_user_data' })
    expect(await refused(docker({ image: 'x', ssh_authorized_keys: ['ssh-ed25519 nonsense'] }))).toMatchObject({
      code: 'invalid_ssh_key',
      field: 'ssh_authorized_keys.0',
    })
    expect(await refused(launch({ command: ['a\0'] }))).toMatchObject({ code: 'invalid_input', field: 'command.0' })
    expect(await refused(launch({ node_selector: { zone: 'a\0' } }))).toMatchObject({
      code: 'invalid_input',
      field: 'node_selector.zone',
    })
    expect(await problem(await send('{"runtime":'))).toMatchObject({ status: 400, code: 'invalid_input', field: 'body' })
    expect(await problem(await send('{}', { 'content-type': 'text/plain' }))).toMatchObject({ status: 400, code: 'invalid_input' })
    expect(await problem(await send(JSON.stringify(launch()), { 'idempotency-key': 'short' }))).toMatchObject({
      status: 400,
      code: 'invalid_idempotency_key',
    })
    expect(await problem(await send(JSON.stringify(launch()), { 'if-match': 'abc' }))).toMatchObject({ field: 'If-Match' })
    expect(must(await as('operator').call('listInstances', {})).items).toEqual([])
  })

  test('a body over 1 MiB is 413 and the answer arrives, also when the body is sent whole', async () => {
    const { fetch: raw } = await apiServer(bench)
    expect(await problem(await raw('/v1/instances', post({ user_data: 'x'.repeat(2 ** 20) })))).toMatchObject({
      status: 413,
      code: 'body_too_large',
    })
  })

  test('queries, paths and unknown routes', async () => {
    const { fetch: raw } = await apiServer(bench)
    const refused = async (path: string) => problem(await raw(path))
    expect(await refused('/v1/instances?selector=app%3Dweb%2C%2Cx')).toMatchObject({ status: 400, code: 'invalid_selector', position: 8 })
    expect(await refused('/v1/instances?state=runing')).toMatchObject({ code: 'invalid_input', field: 'state' })
    expect(await refused('/v1/instances?limit=201')).toMatchObject({ field: 'limit' })
    expect(await refused('/v1/instances?nope=1')).toMatchObject({ field: 'nope' })
    expect(await refused('/v1/instances?cursor=x')).toMatchObject({ code: 'invalid_input', field: 'cursor' })
    expect(await refused('/v1/instances?name=%00')).toMatchObject({ code: 'invalid_input' })
    expect(await refused('/v1/instances/%00')).toMatchObject({ code: 'invalid_input' })
    expect(await refused('/v1/instances/%zz')).toMatchObject({ status: 400 })
    expect(await refused(`/v1/instances/${'x'.repeat(200)}`)).toMatchObject({ status: 400, field: 'id' })
    expect(await refused('/v1/instances/inst_0')).toMatchObject({ status: 404, code: 'not_found' })
    expect(await refused('/v1/nope')).toMatchObject({ status: 404, code: 'unknown_route', path: '/v1/nope' })
    expect(await refused('/v1/events?after=x')).toMatchObject({ field: 'after' })
    const future = await refused('/v1/events?after=99999999')
    expect(future).toMatchObject({ status: 400, code: 'invalid_input', field: 'after', newest: expect.stringMatching(/^[1-9]/) })
    expect((await raw(`/v1/events?after=${String(future.newest)}`)).status).toBe(200)
    const resumed = await raw('/v1/events', { headers: { accept: 'text/event-stream', 'last-event-id': '99999999' } })
    expect(await problem(resumed)).toMatchObject({ status: 400, newest: future.newest })
    expect(await refused('/v1/instances/x/logs?since=yesterday')).toMatchObject({ field: 'since' })
    expect(await problem(await raw('/v1/instances', { method: 'PATCH' }))).toMatchObject({ status: 404 })
  })

  test('the request id of the caller is echoed, a bad one is replaced', async () => {
    const { fetch: raw } = await apiServer(bench)
    const idOf = async (given: string) => (await raw('/v1/instances', { headers: { 'x-request-id': given } })).headers.get('x-request-id')
    expect(await idOf('abc-123')).toBe('abc-123')
    expect(await idOf('not ok!')).toMatch(/^req_[0-9a-z]{16}$/)
  })

  test('more memory than any node has is refused, and accepted while no node is known', async () => {
    const { as, store } = await apiServer(bench)
    const big = { ...launch(), memory: '100Gi' }
    must(await as('operator').call('createInstance', { body: { ...big, name: 'early' } }))
    const hello = { nodeId: nodeId('node-a'), bootId: 'b', facts: factsOf(), usage: USAGE, replica: store.replica }
    must(await store.write('system:test', (tx) => openSession(tx, hello)))
    expect(await as('operator').call('createInstance', { body: big })).toMatchObject({
      ok: false,
      error: {
        code: 'no_node',
        fields: { dimension: 'memory', requested: 100 * 2 ** 30, available: 4 * 2 ** 30, nodes: ['node-a: memory: 4Gi allocatable'] },
      },
    })
    must(await as('operator').call('createInstance', { body: { ...big, memory: '4Gi' } }))
  })

  test('a runtime that no node ever offered is refused with those there are; the one of a node that is away is waited for', async () => {
    const { as, store } = await apiServer(bench)
    const create = (runtime: 'qemu' | 'firecracker') =>
      as('operator').call('createInstance', { body: { ...launch(), runtime, image: 'disk' } })
    const deploy = (runtime: string) => {
      const processes = { web: { runtime, resources: { memory: '64Mi' } } }
      const manifest = { schema_version: 'v1', app: { name: 'app' }, image: { ref: 'disk' }, processes }
      return as('operator').call('deploy', { body: { env: 'prod', manifest } })
    }
    must(await create('firecracker'))
    const offers = (runtime: 'process' | 'qemu', usable: boolean) => ({
      runtime,
      usable,
      version: null,
      detail: '',
      fix: null,
      limits: 'none' as const,
    })
    const join = async (id: string, runtimes: ReturnType<typeof offers>[]) =>
      must(
        await store.write('system:test', (tx) =>
          openSession(tx, { nodeId: nodeId(id), bootId: 'b', facts: factsOf({ runtimes }), usage: USAGE, replica: store.replica }),
        ),
      )
    await join('node-a', [offers('process', false)])
    const { epoch } = await join('node-b', [offers('qemu', true)])
    must(await store.write('system:test', (tx) => closeSession(tx, nodeId('node-b'), epoch)))
    const refused = {
      ok: false,
      error: { code: 'no_node', fields: { dimension: 'runtime', requested: 'firecracker', available: ['process'] } },
    }
    expect(await create('firecracker')).toMatchObject(refused)
    expect(await deploy('firecracker')).toMatchObject(refused)
    must(await create('qemu'))
    must(await deploy('qemu'))
  })
})
