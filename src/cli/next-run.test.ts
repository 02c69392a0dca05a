import { expect, test } from 'vitest'
import { cli } from '../../tests/support/cli.ts'
import { stubApi } from '../../tests/support/stub-api.ts'
import { instanceView } from '../../tests/support/views.ts'

test('logs -f waits until an agent has the instance before it asks for output', async () => {
  const states = [
    instanceView({ incarnation: 0, state: 'pending', node_id: null }),
    instanceView({ incarnation: 0, state: 'placed' }),
    instanceView({ incarnation: 1, state: 'preparing' }),
    instanceView({ incarnation: 1, state: 'completed' }),
  ]
  const lines = [
    { stream: 'stdout', at: null, data: Buffer.from('all of it\n').toString('base64') },
    { end: true, exit_code: null, lost_bytes: 0 },
  ]
  const left: number[] = []
  const api = await stubApi(({ url }) => {
    if (!url.includes('/logs')) return { body: states.shift() }
    left.push(states.length)
    return { lines }
  })
  const done = await cli(['logs', 'web', '-f'], { env: { HOLDFAST_URL: api.url, HOLDFAST_TOKEN: 'secret-token' } })
  expect(done).toEqual({ code: 0, out: 'all of it\n', err: '' })
  expect(left).toEqual([1])
})
