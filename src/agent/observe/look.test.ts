import { expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'
import { lookAt, lookAtAll } from './look.ts'

const ID = InstanceId.parse('inst_00000000000000000001')
const never = new AbortController().signal

function driverThat(fails: () => Promise<never>) {
  const clock = new ManualClock()
  const { driver } = createFakeDriver({ clock })
  return { clock, driver: Object.assign(Object.create(driver), { inspect: fails, list: fails }) }
}

test('a driver that throws proves nothing, and is not taken for one that is slow', async () => {
  const { clock, driver } = driverThat(() => Promise.reject(new TypeError('x is not a function')))
  const error = { code: 'internal', detail: expect.stringContaining('x is not a function') }
  expect(await lookAt(clock, driver, ID, 5000, never)).toMatchObject({ kind: 'unknown', failure: error })
  expect(await lookAtAll(clock, driver, 5000, never)).toMatchObject({ ok: false, error })
})

test('a driver that does not answer in time is unreachable', async () => {
  const { clock, driver } = driverThat(() => new Promise(() => {}))
  const looking = lookAt(clock, driver, ID, 5000, never)
  await clock.advance(7000)
  expect(await looking).toMatchObject({
    kind: 'unknown',
    failure: { code: 'runtime_unreachable', detail: 'The runtime gave no answer within 5 s.' },
  })
})
