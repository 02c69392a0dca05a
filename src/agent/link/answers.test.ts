import { describe, expect, test } from 'vitest'
import { eventually, ID, startControl, startLink } from '../../../tests/support/link-bench.ts'
import type { OnRequest } from './answers.ts'
import { LINK_LIMITS } from './limits.ts'

const stats = { op: 'stats', instanceId: ID } as const
const answered: Awaited<ReturnType<OnRequest>> = { error: null, exitCode: null, stats: null, lostBytes: null }

describe('requests of the control plane', () => {
  test('chunks come in order, then exactly one reply', async () => {
    const control = await startControl()
    const { connected } = startLink(control.url, {
      onRequest: async (_request, reply) => {
        for (const data of ['YQ==', 'Yg==']) reply.chunk({ stream: 'stdout', data, atMs: null })
        return { ...answered, exitCode: 3, lostBytes: 12 }
      },
    })
    await connected()
    control.send({ type: 'request', requestId: 'r1', request: stats })
    await eventually('the reply', () => control.ofType('reply').length === 1)
    expect(control.told.filter((message) => 'requestId' in message)).toEqual([
      { type: 'chunk', requestId: 'r1', chunk: { stream: 'stdout', data: 'YQ==', atMs: null } },
      { type: 'chunk', requestId: 'r1', chunk: { stream: 'stdout', data: 'Yg==', atMs: null } },
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
    })
    control.send({ type: 'request', requestId: 'r2', request: stats })
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
    for (const requestId of ['r1', 'r2']) control.send({ type: 'request', requestId, request: stats })
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

  test('more requests than the bound are refused by name, the same id twice runs once', async () => {
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
    for (let n = 0; n < LINK_LIMITS.requestsMax; n += 1) control.send({ type: 'request', requestId: `r${n}`, request: stats })
    control.send({ type: 'request', requestId: 'r0', request: stats })
    control.send({ type: 'request', requestId: 'one-more', request: stats })
    await eventually('the refusal', () => control.ofType('reply').length === 1)
    expect(control.ofType('reply')[0]).toMatchObject({ requestId: 'one-more', error: { code: 'too_many_requests' } })
    expect(begun).toBe(LINK_LIMITS.requestsMax)
    release.resolve()
    await eventually('all answered', () => control.ofType('reply').length === LINK_LIMITS.requestsMax + 1)
  })

  test('a reader that does not read makes the writer wait, and the observations are refused, not hoarded', async () => {
    const control = await startControl()
    const data = 'A'.repeat(2 ** 20)
    let sent = 0
    let drained = false
    const { link, connected } = startLink(control.url, {
      onRequest: async (_request, reply, signal) => {
        while (!signal.aborted && reply.chunk({ stream: 'stdout', data, atMs: null })) sent += 1
        await reply.drained()
        drained = true
        return answered
      },
    })
    await connected()
    for (const client of control.clients) client.pause()
    control.send({ type: 'request', requestId: 'r', request: stats })
    // A paused ws client still reads what it has: the writer stops only when the kernel's buffers are full too.
    await eventually('told to wait', () => sent > 0)
    expect(sent).toBeLessThan(64)
    expect(link.connected()).toBe(true)
    expect(drained).toBe(false)
    for (const client of control.clients) client.resume()
    await eventually('drained and answered', () => drained && control.ofType('reply').length === 1)
    expect(control.ofType('chunk').length).toBe(sent + 1)
  })

  test('a writer that never waits is ended before it fills the memory', async () => {
    const control = await startControl()
    const data = 'A'.repeat(2 ** 20)
    let sent = 0
    let observedTaken = true
    const { link, connected } = startLink(control.url, {
      onRequest: async (_request, reply, signal) => {
        for (; !signal.aborted && sent < 500; sent += 1) reply.chunk({ stream: 'stdout', data, atMs: null })
        observedTaken = link.sendObserved([])
        return answered
      },
    })
    await connected()
    for (const client of control.clients) client.pause()
    control.send({ type: 'request', requestId: 'r', request: stats })
    await eventually('stopped', () => sent > 0)
    expect(sent).toBeLessThan(100)
    expect(observedTaken).toBe(false)
    for (const client of control.clients) client.resume()
    await eventually('answered', () => control.ofType('reply').length === 1)
    expect(control.ofType('reply')[0]).toMatchObject({ error: { code: 'cancelled' } })
  })
})
