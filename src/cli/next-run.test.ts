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

test('logs -f: a run that began between two questions is read once, and counts as the one that was read', async () => {
  const states = [
    instanceView({ incarnation: 1, state: 'running' }),
    // It ended and was started again before the first question for output came to its node.
    instanceView({ incarnation: 2, state: 'running' }),
    instanceView({ incarnation: 2, state: 'recovering' }),
    instanceView({ incarnation: 3, state: 'completed' }),
  ]
  const runs = [2, 3]
  const api = await stubApi(({ url }) => {
    if (!url.includes('/logs')) return { body: states.length > 1 ? states.shift() : states[0] }
    const incarnation = runs.shift()
    const data = Buffer.from(`run ${incarnation}\n`).toString('base64')
    return {
      lines: [
        { stream: 'stdout', at: null, data },
        { end: true, exit_code: null, lost_bytes: 0, incarnation },
      ],
    }
  })
  const done = await cli(['logs', 'web', '-f'], { env: { HOLDFAST_URL: api.url, HOLDFAST_TOKEN: 'secret-token' } })
  expect(done).toEqual({ code: 0, out: 'run 2\nrun 3\n', err: 'run 2 of web has ended; this is run 3\n' })
})
