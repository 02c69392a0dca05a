import { expect, test } from 'vitest'
import { desiredOf } from '../../../tests/support/desired.ts'
import type { FromControl } from '../../contracts/agent-protocol.ts'
import { WINDOW_BYTES } from '../../contracts/stream-window.ts'
import { RequestTable } from './link-requests.ts'

const { id: instanceId } = desiredOf()
const logs = { op: 'logs', instanceId, follow: true, tailLines: null, sinceMs: null, previous: false } as const
const stats = { op: 'stats', instanceId } as const

test('C65: streams and short requests have places of their own, and a full share is refused by name', () => {
  const sent: FromControl[] = []
  const table = new RequestTable({
    newRequestId: () => `req_${sent.length}`,
    send: (message) => sent.push(message) > 0,
    windowBytes: WINDOW_BYTES,
    openMax: 5,
    streamsMax: 3,
  })
  const code = (request: typeof logs | typeof stats) => {
    const opened = table.open(request)
    return opened.ok ? 'ok' : opened.error
  }
  expect([logs, logs, logs].map(code)).toEqual(['ok', 'ok', 'ok'])
  expect(code(logs)).toMatchObject({ code: 'too_many_requests', detail: expect.stringMatching(/^3 .*end one/), fields: { limit: 3 } })
  expect([stats, stats].map(code)).toEqual(['ok', 'ok'])
  expect(code(stats)).toMatchObject({ code: 'too_many_requests', fields: { limit: 2 } })
  table.take({ type: 'reply', requestId: 'req_0', error: null, exitCode: null, stats: null, lostBytes: 0 })
  expect([code(logs), sent.length]).toEqual(['ok', 6])
})
