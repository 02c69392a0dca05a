import { expect, test } from 'vitest'
import { stubApi } from '../../../tests/support/stub-api.ts'
import { instanceView } from '../../../tests/support/views.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { createClient } from '../../client/client.ts'
import type { EnvStatusView } from '../../contracts/views.ts'
import { painter } from '../render/paint.ts'
import { changeLines, snapshot, tableFrame } from './live.ts'

const NOW_MS = Date.parse('2026-11-21T05:01:00.000Z')
const env: EnvStatusView = {
  id: 'env_00000000000000000000',
  app: 'hello',
  env: 'prod',
  manifest_hash: 'sha256:0',
  state: 'running',
  processes: [{ name: 'web', wanted: 1, running: 1, ready: 1, current: 1, instances: [] }],
}

test('one line per change, none without one', () => {
  const before = [instanceView({ id: 'a', name: 'web-0' }), instanceView({ id: 'b', name: 'web-1' })]
  expect(changeLines([], before, NOW_MS)).toEqual(['web-0 running (healthy)', 'web-1 running (healthy)'])
  expect(changeLines(before, before, NOW_MS)).toEqual([])
  expect(changeLines(before, before.slice(0, 1), NOW_MS)).toEqual(['web-1 gone'])
})

test('a restart that was over between two looks still shows, with how the one before ended', () => {
  const before = instanceView({ name: 'web-0', incarnation: 1 })
  const after = instanceView({
    name: 'web-0',
    incarnation: 2,
    last_exit: { code: null, signal: 'SIGKILL', memory_limit_exceeded: false, at: '2026-11-21T05:00:59.000Z' },
  })
  expect(changeLines([before], [after], NOW_MS)).toEqual(['web-0 running (healthy): run 2, the one before ended: SIGKILL'])
})

test('what waits says for what, and until when', () => {
  const waiting = instanceView({ name: 'web-0', state: 'crash_looping', reason: 'crash_loop', next_attempt_at: '2026-11-21T05:01:10.000Z' })
  expect(changeLines([], [waiting], NOW_MS)).toEqual(['web-0 crash_looping: crash_loop; next attempt in 10s'])
})

test('the table is never higher than the screen', () => {
  const instances = Array.from({ length: 100 }, (_, index) => instanceView({ id: `i${index}`, name: `web-${index}` }))
  const frame = tableFrame({ env, instances }, 80, 24, NOW_MS, 'hint', painter(false))
  expect(frame.length).toBeLessThan(24)
  expect(frame.join('\n')).toContain('… and ')
  expect(tableFrame({ env, instances: instances.slice(0, 2) }, 80, 24, NOW_MS, 'hint', painter(false)).join('\n')).not.toContain('… and ')
})

test('the replicas of its env are asked for, all pages of them, whatever else there is', async () => {
  const names = Array.from({ length: 201 }, (_, index) => `web-${String(index).padStart(3, '0')}`)
  const api = await stubApi(({ url }) => {
    if (url.startsWith('/v1/envs')) return { body: { items: [env], next_cursor: null } }
    const query = new URLSearchParams(url.split('?')[1])
    if (query.get('env_id') !== env.id) return { body: { items: [instanceView({ name: 'stranger' })], next_cursor: null } }
    const second = query.get('cursor') === 'c1'
    const items = (second ? names.slice(0, 1) : names.slice(1)).map((name) => instanceView({ id: name, name }))
    return { body: { items, next_cursor: second ? null : 'c1' } }
  })
  const client = createClient({ url: api.url, token: 't', clock: systemClock, random: systemRandom })
  const seen = await snapshot(client, env, new AbortController().signal)
  expect(seen?.instances.map(({ name }) => name)).toEqual(names)
})
