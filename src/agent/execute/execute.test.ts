import { expect, test } from 'vitest'
import { agent, desired } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { OK } from '../../base/result.ts'
import { semaphore } from '../../base/semaphore.ts'
import { InstanceId } from '../../contracts/ids.ts'
import type { Runtime } from '../../contracts/spec.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'
import { LIMITS } from '../limits.ts'
import { newRecord } from '../model/record.ts'
import { type ExecuteDeps, execute } from './execute.ts'
import { createLedger } from './ledger.ts'

const id = (index: number) => InstanceId.parse(`inst_${String(index).padStart(20, '0')}`)

const depsOf = (clock: ManualClock, drivers: ExecuteDeps['drivers']): ExecuteDeps => ({
  clock,
  limits: LIMITS,
  drivers,
  ledger: createLedger(() => OK),
  ports: { resolve: async () => ({ ok: true, value: [] }), adopt() {}, release() {} },
  starts: new Map([...drivers.keys()].map((runtime) => [runtime, semaphore(4)])),
  nodeId: 'node-1',
})

test('T30: starts that hang in one runtime hold up no start in another', async () => {
  const clock = new ManualClock()
  const hanging = createFakeDriver({ clock })
  const well = createFakeDriver({ clock })
  hanging.control.hangNext('start', 10)
  const deps = depsOf(
    clock,
    new Map([
      ['docker', hanging.driver],
      ['process', well.driver],
    ]),
  )
  const end = new AbortController()
  const start = (index: number, runtime: Runtime) => {
    const wish = desired({ spec: { ...desired().spec, runtime } }, id(index))
    return execute(deps, { ...newRecord(wish, 0), incarnation: 1, nonce: 'n' }, { kind: 'start', id: wish.id }, end.signal)
  }
  const stuck = Array.from({ length: 10 }, (_, index) => start(index, 'docker'))
  await clock.advance(10)
  const started = start(100, 'process')
  await clock.advance(1000)
  expect(await Promise.race([started, Promise.resolve('still in the line')])).toMatchObject({ ok: true })
  end.abort(new Error('enough'))
  await clock.advance(10)
  expect((await Promise.all(stuck)).every((one) => !one.ok)).toBe(true)
})

test('T30: hundreds of instances that wait for their image keep no other one from being stopped', async () => {
  const one = agent()
  one.instances.setDesired([desired({}, id(1000))])
  await one.clock.advance(2000)
  one.control.hangNext('prepare', 400)
  one.instances.setDesired(Array.from({ length: 400 }, (_, index) => desired({}, id(index))))
  await one.clock.advance(1000)
  one.instances.setDesired([desired({ generation: 2, want: 'stopped' }, id(1000))])
  await one.clock.advance(1000)
  expect(one.instances.entries.get(id(1000))?.record.phase.kind).toBe('stopped')
})

test('a driver that never finishes forgetting an instance holds it up for a bounded time', async () => {
  const clock = new ManualClock()
  const { driver } = createFakeDriver({ clock })
  const stuck = Object.assign(Object.create(driver), { forget: () => new Promise(() => {}) })
  const deps = depsOf(clock, new Map([['fake', stuck]]))
  const forgetting = execute(deps, newRecord(desired({}, id(1)), 0), { kind: 'forget', id: id(1) }, new AbortController().signal)
  await clock.advance(LIMITS.removeDeadlineMs + 2000)
  expect(await forgetting).toMatchObject({ ok: false, error: { code: 'stop_failed' } })
})
