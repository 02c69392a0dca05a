import { expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { STOP_MS_MAX } from './limits.ts'
import { stopServer } from './server.ts'

/** Above every pid_max: signals to it reach nobody. */
const NOBODY = 2 ** 30

test('a server that ends is stopped; one that outlives its kill is not taken for stopped', async () => {
  const clock = new ManualClock()
  expect(await stopServer({ pid: NOBODY, ended: Promise.resolve(), said: () => '' }, clock)).toMatchObject({ ok: true })
  const stopping = stopServer({ pid: NOBODY, ended: new Promise(() => {}), said: () => '' }, clock)
  await clock.advance(STOP_MS_MAX)
  expect(await stopping).toMatchObject({ ok: false, error: { code: 'store_unavailable', fields: { pid: NOBODY } } })
})
