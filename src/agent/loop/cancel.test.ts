// T28: a stop or a delete that comes at any point of a recovery ends it. Every effect of the loop (a call of the driver, a line of the
// journal) has a place before and one after it; the same recovery is run once for each place, and the wish comes exactly there.
import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { failure } from '../../contracts/errors.ts'
import type { Driver } from '../drivers/driver.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'

const VERBS = ['inspect', 'prepare', 'start', 'stop', 'remove', 'forget'] as const

/** The same driver, with a place before and after each of its verbs. */
function withPlaces(driver: Driver, at: (place: string) => void): Driver {
  return new Proxy(driver, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (!VERBS.some((verb) => verb === name)) return value.bind(target)
      return async (...given: unknown[]) => {
        at(`before ${String(name)}`)
        const answer: unknown = await value.apply(target, given)
        at(`after ${String(name)}`)
        return answer
      }
    },
  })
}

interface Scenario {
  readonly want: 'stopped' | 'deleted'
  /** How many starts of the recovery fail before one succeeds. */
  readonly failing: number
  readonly latencyMs: number
}

/** One that ran, ended and is being recovered; the wish comes at the `place`-th place, or never. */
async function recovery({ want, failing, latencyMs }: Scenario, place: number) {
  const clock = new ManualClock()
  const world = createFakeDriver({ clock })
  const places: string[] = []
  let counting = false
  let starts = 0
  let startsAtWish: number | null = null
  const wish = () => {
    startsAtWish = starts
    one.instances.setDesired([desired({ generation: 2, want })])
  }
  const at = (where: string) => {
    if (!counting) return
    if (where === 'before start') starts += 1
    places.push(where)
    if (places.length - 1 === place) wish()
  }
  const one = agent({ driver: withPlaces(world.driver, at), control: world.control }, clock)
  one.instances.setDesired([desired()])
  await clock.advance(20_000)
  expect(one.kind()).toBe('running')
  world.control.latency(latencyMs)
  if (failing > 0) world.control.failNext('start', failure('start_failed', 'no'), failing)
  counting = true
  world.control.exit(ID, { signal: 'SIGKILL' })
  await clock.advance(200_000)
  const reached = startsAtWish !== null
  // Nothing of it may come back later, either.
  await clock.advance(3_600_000)
  return { one, control: world.control, places, reached, startedAfterwards: starts - (startsAtWish ?? starts) }
}

const outcomes = (logs: readonly { readonly msg: string }[]) =>
  logs
    .filter(({ msg }) => ['vm recovery successful', 'vm recovery failed completely', 'recovery cancelled'].includes(msg))
    .map(({ msg }) => msg)

for (const want of ['stopped', 'deleted'] as const)
  for (const latencyMs of [0, 50])
    for (const failing of [0, 2])
      test(`T28: wished ${want} at every point of a recovery (${failing} failing starts, ${latencyMs} ms a call): nothing runs, nothing comes back, one outcome`, async () => {
        const { places } = await recovery({ want, failing, latencyMs }, -1)
        expect(places.length).toBeGreaterThan(4)
        for (let place = 0; place < places.length; place += 1) {
          const run = await recovery({ want, failing, latencyMs }, place)
          const where = `${place}: ${places[place]}`
          expect(run.reached, where).toBe(true)
          expect(run.control.live(ID), where).toEqual([])
          expect(run.startedAfterwards, where).toBe(0)
          expect(run.one.kind(), where).toBe(want)
          expect(outcomes(run.one.logs), where).toHaveLength(1)
          expect(run.one.gate, where).toMatchObject({ starting: 0, waiting: 0 })
          if (want === 'deleted')
            expect(
              run.control.world.objects.filter((object) => !object.removed),
              where,
            ).toEqual([])
        }
      })
