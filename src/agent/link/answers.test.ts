import { describe, expect, test } from 'vitest'
import { eventually, ID, startControl, startLink } from '../../../tests/support/link-bench.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { CHUNK_BYTES_MAX, chunkCost, WINDOW_BYTES } from '../../contracts/stream-window.ts'
import type { OnRequest } from './answers.ts'
import { LINK_LIMITS } from './limits.ts'

const stats = { op: 'stats', instanceId: ID } as const
const windowBytes = WINDOW_BYTES
const chunkOf = (data: string) => ({ stream: 'stdout', data, atMs: null, lostBytes: 0 }) as const
const FULL = chunkOf('A'.repeat((CHUNK_BYTES_MAX / 3) * 4))
const answered: Awaited<ReturnType<OnRequest>> = { error: null, exitCode: null, stats: null, lostBytes: null }

describe('requests of the control plane', () => {
  test('chunks come in order, then exactly one reply', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url, {
      onRequest: async (_request, send) => {
        for (const data of ['YQ==', 'Yg==']) await send(chunkOf(data))
        return { ...answered, exitCode: 3, lostBytes: 12 }
      },
    })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats, windowBytes })
    await eventually('the reply', () => control.ofType('reply').length === 1)
    expect(control.told.filter((message) => 'requestId' in message)).toEqual([
      { type: 'chunk', requestId: 'r1', chunk: chunkOf('YQ==') },
      { type: 'chunk', requestId: 'r1', chunk: chunkOf('Yg==') },
      { type: 'reply', requestId: 'r1', error: null, exitCode: 3, stats: null, lostBytes: 12 },
    ])
  })

  test('a failure travels with code and fields and without its cause; a throw is `internal`', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url, {
      onRequest: async (request) => {
        if (request.op === 'stats') throw new Error('bug with secret')
        return { ...answered, error: { code: 'not_found', detail: 'none', fields: { a: ['x'] }, cause: new Error('secret') } }
      },
    })
    await connected()
    control.send({
      type: 'request',
      requestId: 'r1',
      request: { op: 'logs', instanceId: ID, follow: false, tailLines: null, sinceMs: null, previous: false },
      windowBytes,
    })
    control.send({ type: 'request', requestId: 'r2', request: stats, windowBytes })
    await eventually('both replies', () => control.ofType('reply').length === 2)
    expect(control.ofType('reply').map(({ error }) => error)).toEqual([
      { code: 'not_found', detail: 'none', fields: { a: ['x'] } },
      expect.objectContaining({ code: 'internal' }),
    ])
    expect(JSON.stringify(control.told)).not.toContain('secret')
  })

  test('cancel aborts the one request; a lost connection aborts all, and nothing of them is sent later', async () => {
    const control = await startControl()
    const aborted: unknown[] = []
    const { clock, connected } = startLink(control.url, {
      onRequest: (_request, _reply, signal) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            aborted.push(signal.reason)
            resolve(answered)
          }),
        ),
    })
    await connected()
    for (const requestId of ['r1', 'r2']) control.send({ type: 'request', requestId, request: stats, windowBytes })
    control.send({ type: 'cancel', requestId: 'r1' })
    control.send({ type: 'cancel', requestId: 'unknown' })
    await eventually('r1 is answered', () => control.ofType('reply').some(({ requestId }) => requestId === 'r1'))
    expect(aborted).toHaveLength(1)
    for (const client of control.clients) client.terminate()
    await eventually('r2 aborted', () => aborted.length === 2 && clock.waits.length === 1)
    await clock.advance(LINK_LIMITS.reconnect.baseMs)
    await connected()
    expect(control.ofType('reply').map(({ requestId }) => requestId)).toEqual(['r1'])
  })

  test('readers that stand still take all places of streams and none of short requests; the refusal names the limit and the way out', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url, {
      onRequest: async (request, _send, signal) => {
        if (request.op !== 'stats') await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
        return answered
      },
    })
    await connected()
    const logs = { op: 'logs', instanceId: ID, follow: true, tailLines: null, sinceMs: null, previous: false } as const
    for (let n = 0; n < LINK_LIMITS.streamsMax; n += 1) control.send({ type: 'request', requestId: `r${n}`, request: logs, windowBytes })
    control.send({ type: 'request', requestId: 'one-more', request: logs, windowBytes })
    control.send({ type: 'request', requestId: 'short', request: stats, windowBytes })
    await eventually('both are answered', () => control.ofType('reply').length === 2)
    const [refused, short] = control.ofType('reply')
    expect(refused).toMatchObject({ requestId: 'one-more', error: { code: 'too_many_requests', fields: { limit: 64 } } })
    expect(refused?.error?.detail).toMatch(/^64 .*limit.* end one/)
    expect(short).toMatchObject({ requestId: 'short', error: null })
    control.send({ type: 'cancel', requestId: 'r0' })
    await eventually('a place is free', () => control.ofType('reply').length === 3)
    control.send({ type: 'request', requestId: 'again', request: logs, windowBytes })
    control.send({ type: 'cancel', requestId: 'again' })
    await eventually('and taken', () => control.ofType('reply').some(({ requestId, error }) => requestId === 'again' && !error))
  })

  test('C65: more requests than the bound are refused by name, the same id twice runs once', async () => {
    const control = await startControl()
    const release = Promise.withResolvers<void>()
    let begun = 0
    const { connected } = startLink(control.url, {
      onRequest: async () => {
        begun += 1
        await release.promise
        return answered
      },
    })
    await connected()
    for (let n = 0; n < LINK_LIMITS.shortRequestsMax; n += 1)
      control.send({ type: 'request', requestId: `r${n}`, request: stats, windowBytes })
    control.send({ type: 'request', requestId: 'r0', request: stats, windowBytes })
    control.send({ type: 'request', requestId: 'one-more', request: stats, windowBytes })
    await eventually('the refusal', () => control.ofType('reply').length === 1)
    expect(control.ofType('reply')[0]).toMatchObject({ requestId: 'one-more', error: { code: 'too_many_requests' } })
    expect(begun).toBe(LINK_LIMITS.shortRequestsMax)
    release.resolve()
    await eventually('all answered', () => control.ofType('reply').length === LINK_LIMITS.shortRequestsMax + 1)
  })

  /** Hands on full chunks until aborted, or `count` of them; says how many were taken off its hands. */
  function flood(count = Number.POSITIVE_INFINITY) {
    const handed = new Map<string, number>()
    let asked = 0
    const onRequest: OnRequest = async (_request, send, signal) => {
      asked += 1
      const name = `r${asked}`
      for (let n = 1; n <= count && !signal.aborted; n += 1) {
        await send(FULL)
        if (!signal.aborted) handed.set(name, n)
      }
      return answered
    }
    return { handed, onRequest }
  }
  const PER_WINDOW = Math.floor(WINDOW_BYTES / chunkCost(FULL))

  test('a request sends what its window allows and then waits; credit lets it go on exactly so far', async () => {
    const control = await startControl()
    const { handed, onRequest } = flood()
    const { connected } = startLink(control.url, { onRequest })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats, windowBytes })
    await eventually('the window is used up', () => control.ofType('chunk').length === PER_WINDOW)
    // An answer to something asked later proves that nothing more was on its way.
    control.send({ type: 'credit', requestId: 'unknown', bytes: 10 ** 9 })
    control.send({ type: 'credit', requestId: 'r1', bytes: 3 * chunkCost(FULL) })
    await eventually('the credit is used up', () => control.ofType('chunk').length === PER_WINDOW + 3)
    expect(handed.get('r1')).toBe(PER_WINDOW + 3)
    control.send({ type: 'cancel', requestId: 'r1' })
    await eventually('ended at once', () => control.ofType('reply').length === 1)
    expect(control.ofType('chunk')).toHaveLength(PER_WINDOW + 3)
  })

  test('what waits for credit goes in its order, also when there is room for something smaller behind it', async () => {
    const control = await startControl()
    const tiny = chunkOf('YQ==')
    const { connected } = startLink(control.url, {
      onRequest: async (_request, send) => {
        for (let n = 0; n < PER_WINDOW; n += 1) await send(FULL)
        await Promise.all([send(FULL), send(tiny)])
        return answered
      },
    })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats, windowBytes })
    await eventually('the window is used up', () => control.ofType('chunk').length >= PER_WINDOW)
    control.send({ type: 'credit', requestId: 'r1', bytes: chunkCost(FULL) + chunkCost(tiny) })
    await eventually('all is sent', () => control.ofType('reply').length === 1)
    expect(
      control
        .ofType('chunk')
        .map(({ chunk }) => chunk.data.length)
        .slice(PER_WINDOW),
    ).toEqual([FULL.data.length, tiny.data.length])
  })

  test('a request that waits for its reader holds up no other one, no observation and no heartbeat', async () => {
    const control = await startControl()
    const { handed, onRequest } = flood(5 * PER_WINDOW)
    const { link, clock, connected } = startLink(control.url, { onRequest })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats, windowBytes })
    await eventually('r1 stands', () => handed.get('r1') === PER_WINDOW)
    control.send({ type: 'request', requestId: 'r2', request: stats, windowBytes: 6 * WINDOW_BYTES })
    await eventually('r2 is answered', () => control.ofType('reply').length === 1)
    expect(control.ofType('reply')[0]).toMatchObject({ requestId: 'r2', error: null })
    expect(link.sendObserved([])).toBe(true)
    const beats = control.ofType('heartbeat').length
    await clock.advance(LINK_LIMITS.heartbeatMs)
    await eventually('both came through', () => control.ofType('observed').length === 1 && control.ofType('heartbeat').length === beats + 1)
    expect(handed.get('r1')).toBe(PER_WINDOW)
  })

  test('a connection that takes nothing keeps little waiting for it, and output takes turns', async () => {
    const control = await startControl()
    const { handed, onRequest } = flood()
    const { link, connected } = startLink(control.url, { onRequest })
    await connected()
    const granted = 2 ** 30
    for (const client of control.clients) client.pause()
    for (const requestId of ['r1', 'r2', 'r3']) control.send({ type: 'request', requestId, request: stats, windowBytes: granted })
    // A paused socket still takes what the kernel has room for; then all stand, at about the same place.
    const places = () => ['r1', 'r2', 'r3'].map((name) => handed.get(name) ?? 0)
    let before = ''
    await waitFor(
      () => {
        const now = places().join()
        const stands = now === before && places().every((n) => n > 0)
        before = now
        return stands
      },
      { what: 'all stand', deadlineMs: 10_000, everyMs: 200 },
    )
    expect(Math.max(...places()) - Math.min(...places())).toBeLessThanOrEqual(PER_WINDOW)
    // An observation is taken at once: little is ahead of it.
    expect(link.sendObserved([])).toBe(true)
    const ahead = places().reduce((sum, n) => sum + n, 0)
    for (const client of control.clients) client.resume()
    await eventually('the observation arrived', () => control.ofType('observed').length === 1)
    const at = control.told.findIndex(({ type }) => type === 'observed')
    expect(control.told.slice(0, at).filter(({ type }) => type === 'chunk').length).toBeLessThanOrEqual(ahead + 3)
    for (const requestId of ['r1', 'r2', 'r3']) control.send({ type: 'cancel', requestId })
    await eventually('ended', () => control.ofType('reply').length === 3)
  })

  test('a connection that is lost ends a request that waits for credit, and one that waits for its turn', async () => {
    const control = await startControl()
    const { handed, onRequest } = flood()
    let ended = 0
    const { connected } = startLink(control.url, {
      onRequest: async (request, send, signal) => {
        const answer = await onRequest(request, send, signal)
        ended += 1
        return answer
      },
    })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats, windowBytes })
    await eventually('r1 stands', () => control.ofType('chunk').length === PER_WINDOW)
    for (const client of control.clients) client.pause()
    control.send({ type: 'request', requestId: 'r2', request: stats, windowBytes: 2 ** 30 })
    let before = 0
    await waitFor(
      () => {
        const stands = handed.get('r2') === before
        before = handed.get('r2') ?? 0
        return stands
      },
      { what: 'r2 stands', deadlineMs: 10_000, everyMs: 200 },
    )
    for (const client of control.clients) client.terminate()
    await eventually('both have ended', () => ended === 2)
  })
})
