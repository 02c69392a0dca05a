// --wait ends with what is known: reached, hopeless, or out of time.
import { expect, test } from 'vitest'
import { cli } from '../../tests/support/cli.ts'
import { type Asked, stubApi } from '../../tests/support/stub-api.ts'
import { instanceView } from '../../tests/support/views.ts'
import type { InstanceView } from '../contracts/views.ts'

const died = {
  code: 'process_dead',
  message: 'm',
  detail: 'It ended: exit code 3.',
  next: 'n',
  retry: 'soon',
  at: null,
  fields: {},
} as const satisfies InstanceView['last_error']

/** Every look is answered with the next state, the last one for ever; every change with the first. */
async function run(args: readonly string[], ...states: Partial<InstanceView>[]) {
  let looks = 0
  const view = (at: number) => instanceView({ ...states[Math.min(at, states.length - 1)] })
  const api = await stubApi(({ method }: Asked) => ({ status: 200, body: method === 'GET' ? view(looks++) : view(0) }))
  const done = await cli(args, { env: { HOLDFAST_URL: api.url, HOLDFAST_TOKEN: 'secret-token' } })
  return { ...done, asked: api.asked }
}

const looping = { state: 'crash_looping', reason: 'crash_loop', last_error: died, incarnation: 2 }

test.each([
  ['launch', ['launch', '--wait', '--wait-timeout', '20s', '--', 'x']],
  ['launch until it is healthy', ['launch', '--wait=healthy', '--wait-timeout', '20s', '--', 'x']],
  ['start', ['start', 'web', '--wait', '--wait-timeout', '20s']],
  ['restart', ['restart', 'web', '--wait', '--wait-timeout', '20s']],
])('%s does not wait through a crash loop: exit 8 at once, with the cause and the next commands', async (_what, args) => {
  const { code, err } = await run(args, { state: 'starting', incarnation: 1 }, looping)
  expect(code).toBe(8)
  expect(err).toContain('web is crash_looping')
  expect(err).toContain('process_dead: It ended: exit code 3')
  expect(err).toContain('holdfast logs web')
  expect(err).toContain('holdfast recover web')
})

const unproven = { state: 'running', reason: 'started', incarnation: 1, health: { status: 'starting' as const, checks: [] } }

test.each([
  ['launch', ['launch', '--wait', '--wait-timeout', '20s', '--', 'x']],
  ['start', ['start', 'web', '--wait']],
  ['restart', ['restart', 'web', '--wait']],
])(
  '%s is not content with a start: it waits for the proof of life, which one that ends a moment later does not give',
  async (_what, args) => {
    const gated = { ...unproven, reason: 'waiting_for_checks', incarnation: 2 }
    const proven = await run(args, unproven, gated, gated, { reason: 'verified', incarnation: 2 })
    expect(proven.code).toBe(0)
    expect(proven.asked.filter(({ method }) => method === 'GET').length).toBeGreaterThanOrEqual(4)
    expect((await run(args, unproven, { ...looping, incarnation: 3 })).code).toBe(8)
  },
)

test('wait itself looks at the state and nothing else', async () => {
  expect(await run(['wait', 'web', 'running'], unproven, looping)).toMatchObject({ code: 0 })
})

test('nor through a quarantine', async () => {
  const { code, err } = await run(['start', 'web', '--wait'], { state: 'quarantined', reason: 'attempts_exhausted', last_error: died })
  expect(code).toBe(8)
  expect(err).toContain('holdfast recover web')
})

test('the crash loop of an older wish says nothing about this one', async () => {
  const old = { ...looping, desired: { ...instanceView().desired, generation: 2, observed_generation: 1 } }
  expect((await run(['start', 'web', '--wait'], old, old, { incarnation: 3 })).code).toBe(0)
})

test('wait itself goes on through a crash loop: the next attempt may be the good one', async () => {
  expect((await run(['wait', 'web', 'running'], looping, looping, { incarnation: 3 })).code).toBe(0)
})

test.each([
  [['start', 'web', '--wait'], 'running'],
  [['start', '--wait', 'web'], 'running'],
  [['restart', '--wait=healthy', 'web'], 'healthy'],
  [['restart', '--wait', 'healthy', 'web'], 'healthy'],
  [['recover', 'web', '--wait=healthy'], 'healthy'],
  [['resume', '--json', '--wait', 'web'], 'running'],
])('%j waits until it is %s', async (args, awaited) => {
  const starting: Partial<InstanceView> = { incarnation: 1, health: { status: 'starting', checks: [] } }
  const { code, asked } = await run(args, starting, { ...starting, incarnation: 2 }, { incarnation: 2 })
  expect(code).toBe(0)
  const looks = asked.filter(({ method }) => method === 'GET').length
  expect(looks >= 3).toBe(awaited === 'healthy')
  expect(asked.every(({ url }) => url.startsWith('/v1/instances/web') || url.includes('/v1/instances/inst_'))).toBe(true)
})

test('a state that cannot be awaited is refused before anything is asked for', async () => {
  const { code, err, asked } = await run(['restart', 'web', '--wait=stopped'], {})
  expect(code).toBe(2)
  expect(err).toContain('running, healthy')
  expect(asked).toEqual([])
})
