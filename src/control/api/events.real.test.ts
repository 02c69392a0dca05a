import { expect, test } from 'vitest'
import { type ApiServer, apiServer, launch, problem } from '../../../tests/support/api-server.ts'
import { describeEmbeddedStore, must } from '../../../tests/support/stores.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { createClient } from '../../client/client.ts'
import type { EventView } from '../../contracts/views.ts'

const DEADLINE_MS = 20_000

const create = async (server: ApiServer, name: string, token: 'operator' | 'otherOperator' = 'operator') =>
  must(await server.as(token).call('createInstance', { body: launch({ name }) })).id

/** Follows until told; `cursors` grows. */
function follow(server: ApiServer, given: { after?: string; instance?: string; token?: 'viewer' | 'otherOperator' } = {}) {
  const controller = new AbortController()
  const events: EventView[] = []
  const { token = 'viewer', ...options } = given
  const ended = server.as(token).events({ follow: true, signal: controller.signal, ...options }, (event) => void events.push(event))
  return { events, stop: () => controller.abort(), ended }
}

const cursorsOf = (events: readonly EventView[]) => events.map((event) => Number(event.cursor))

describeEmbeddedStore('events', (bench) => {
  test('a follower sees each event once and in order while eight writers are at work, over cut connections', async () => {
    // A small tail makes the follower change between memory and pages.
    const server = await apiServer(bench, { limits: { eventTailMax: 20 } })
    const seen = follow(server)
    const persistent = createClient({
      url: server.url,
      token: server.tokens.operator,
      clock: systemClock,
      random: systemRandom,
      retryMs: 10_000,
    })
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let index = 0; index < 12; index += 1) {
        must(await persistent.call('createInstance', { body: launch({ name: `w${writer}-${index}` }) }))
        if (writer === 0 && index % 4 === 3) server.api.app.server.closeAllConnections()
      }
    })
    await Promise.all(writers)
    const all = must(await pages(server))
    const last = all.at(-1) ?? 0
    await waitFor(() => cursorsOf(seen.events).at(-1) === last, { what: 'the last event', deadlineMs: DEADLINE_MS })
    seen.stop()
    expect(cursorsOf(seen.events)).toEqual(all)
    // Cut requests were sent again with their key: no instance is missing, none was made twice.
    expect(seen.events.filter((event) => event.type === 'instance.created')).toHaveLength(96)
  })

  test('a late follower starts after the cursor it names, far behind the tail or at its end', async () => {
    const server = await apiServer(bench, { limits: { eventTailMax: 5 } })
    const first = follow(server)
    for (let index = 0; index < 12; index += 1) await create(server, `i${index}`)
    const all = must(await pages(server))
    await waitFor(() => first.events.length === all.length, { what: 'all events', deadlineMs: DEADLINE_MS })
    for (const after of [all[0]!, all[6]!, all.at(-1)!]) {
      const late = follow(server, { after: String(after) })
      await create(server, `late-${after}`)
      await waitFor(() => late.events.some((event) => event.data.name === `late-${after}`), {
        what: 'the newest event',
        deadlineMs: DEADLINE_MS,
      })
      expect(cursorsOf(late.events)).toEqual(must(await pages(server)).filter((cursor) => cursor > after))
      late.stop()
    }
    first.stop()
  })

  test('Last-Event-ID counts more than the query it reconnects with', async () => {
    const server = await apiServer(bench)
    for (const name of ['a', 'b', 'c']) await create(server, name)
    const all = must(await pages(server))
    const response = await server.fetch('/v1/events?after=0', {
      headers: { accept: 'text/event-stream', 'last-event-id': String(all.at(-2)) },
    })
    expect(response.headers.get('content-type')).toContain('text/event-stream')
    expect(await firstEvent(response)).toContain(`id: ${all.at(-1)}\nevent: instance.created\ndata: {"cursor":"${all.at(-1)}"`)
  })

  test('a follower of one organisation or of one instance sees nothing else', async () => {
    const server = await apiServer(bench)
    const mine = await create(server, 'mine')
    const [theirs, one] = [follow(server, { token: 'otherOperator' }), follow(server, { instance: 'mine' })]
    await create(server, 'another')
    const other = await create(server, 'their-own', 'otherOperator')
    must(await server.as('operator').call('stopInstance', { params: { id: mine } }))
    await waitFor(() => theirs.events.some((event) => event.instance_id === other), { what: 'their event', deadlineMs: DEADLINE_MS })
    await waitFor(() => one.events.length === 2, { what: 'two events of the instance', deadlineMs: DEADLINE_MS })
    expect(one.events.map((event) => [event.instance_id, event.type])).toEqual([
      [mine, 'instance.created'],
      [mine, 'instance.desired_changed'],
    ])
    // Nor the platform's own: that its tokens exist is nobody else's business.
    const org = must(await server.as('otherOperator').call('listOrgs', {})).items[0]?.id
    expect(theirs.events.filter((event) => event.org_id !== org)).toEqual([])
    const page = must(await server.as('otherOperator').call('listEvents', { query: { limit: 200 } })).items
    expect(page.map((event) => event.cursor)).toEqual(theirs.events.map((event) => event.cursor))
    expect(theirs.events.some((event) => event.instance_id === mine)).toBe(false)
    theirs.stop()
    one.stop()
  })

  test('a quiet stream has a heartbeat, and the end of the server is announced', async () => {
    const server = await apiServer(bench, { limits: { eventHeartbeatMs: 50, eventPollMs: 20 } })
    const cursor = String(must(await pages(server)).at(-1))
    const response = await server.fetch(`/v1/events?after=${cursor}`, { headers: { accept: 'text/event-stream' } })
    const text = collect(response)
    await waitFor(() => text.value.includes(': heartbeat'), { what: 'a heartbeat', deadlineMs: DEADLINE_MS })
    await server.api.close()
    await waitFor(() => text.value.includes('event: closing\ndata: {"reason":"shutting_down"'), {
      what: 'the closing event',
      deadlineMs: DEADLINE_MS,
    })
  })

  test('a reader that takes nothing is dropped, and no other one waits for it', async () => {
    const server = await apiServer(bench, { limits: { slowReaderMs: 300, eventPollMs: 50 } })
    // Enough that the kernel cannot take it all: each event carries a few kilobytes.
    const { store } = server
    const fat = 'x'.repeat(100_000)
    const slow = await server.fetch('/v1/events', { headers: { accept: 'text/event-stream' } })
    const fast = follow(server)
    for (let index = 0; index < 150; index += 1)
      must(
        await store.write('system:test', async (tx) => {
          tx.emit({ type: 'org.created', data: { fat } })
          return { ok: true, value: undefined }
        }),
      )
    const last = must(await pages(server)).at(-1)
    await waitFor(() => cursorsOf(fast.events).at(-1) === last, { what: 'the last event at the fast reader', deadlineMs: DEADLINE_MS })
    fast.stop()
    // Only now read: the stream ends before the end of the events.
    const text = await slow.text().catch(() => 'cut')
    expect(text).not.toContain(`id: ${last}\n`)
  })

  test('a stream ends when its token is revoked', async () => {
    const server = await apiServer(bench, { limits: { recheckCallerMs: 30, tokenCacheMs: 0 } })
    const { secret, id } = must(await server.as('operator').call('createToken', { body: { name: 'short', role: 'viewer' } }))
    const client = createClient({ url: server.url, token: secret, clock: systemClock, random: systemRandom })
    let seen = 0
    const followed = client.events({ follow: true }, () => {
      seen += 1
    })
    await waitFor(() => seen > 0, { what: 'the stream at work', deadlineMs: DEADLINE_MS })
    must(await server.as('operator').call('deleteToken', { params: { id } }))
    expect(await followed).toMatchObject({ ok: false, error: { code: 'unauthenticated' } })
  })

  test('too many streams are refused, and a closed one makes room', async () => {
    const server = await apiServer(bench, { limits: { eventStreamsMax: 1 } })
    const first = await server.fetch('/v1/events', { headers: { accept: 'text/event-stream' } })
    expect(first.status).toBe(200)
    expect(await problem(await server.fetch('/v1/events', { headers: { accept: 'text/event-stream' } }))).toMatchObject({
      status: 503,
      limit: 1,
    })
    await first.body?.cancel()
    await waitFor(
      async () => {
        const again = await server.fetch('/v1/events', { headers: { accept: 'text/event-stream' } })
        await again.body?.cancel()
        return again.status === 200
      },
      { what: 'room for another stream', deadlineMs: DEADLINE_MS },
    )
  })
})

async function pages(server: ApiServer) {
  const cursors: number[] = []
  const done = await server.as('viewer').events({ follow: false }, (event) => void cursors.push(Number(event.cursor)))
  return done.ok ? { ok: true as const, value: cursors } : done
}

async function firstEvent(response: Response): Promise<string> {
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString()
    if (text.includes('id: ') && text.endsWith('\n\n')) break
  }
  return text
}

function collect(response: Response): { value: string } {
  const text = { value: '' }
  const read = async () => {
    for await (const chunk of response.body ?? []) text.value += Buffer.from(chunk).toString()
  }
  read().catch(() => {})
  return text
}
