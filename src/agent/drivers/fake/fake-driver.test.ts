import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { systemClock } from '../../../base/system.ts'
import { failure } from '../../../contracts/errors.ts'
import { driverConformance } from '../conformance.ts'
import { Bench, fakeCommand, type Harness, must } from '../conformance-kit.ts'
import { createFakeDriver } from './fake-driver.ts'

function harness(): { harness: Harness; control: ReturnType<typeof createFakeDriver>['control'] } {
  const { driver, control } = createFakeDriver({ clock: systemClock })
  return {
    control,
    harness: {
      driver,
      runtime: 'fake',
      command: fakeCommand,
      spec: (spec) => spec,
      reopen: async () => {
        await driver[Symbol.asyncDispose]()
        return control.reopen()
      },
      kill: async (seen) => control.exit(seen.id, { signal: 'SIGKILL' }),
      foreign: async () => ({ alive: async () => true, dispose: async () => undefined }),
      leftovers: async () => control.world.objects.filter((object) => object.state !== 'dead').map((object) => object.want.id),
      dispose: async () => undefined,
    },
  }
}

driverConformance('fake', async () => harness().harness)

describe('faults of the fake driver', () => {
  test('a failure asked for happens once and changes nothing; one asked for afterwards changes and fails', async () => {
    const { harness: made, control } = harness()
    const bench = new Bench(made)
    const want = bench.want({ kind: 'run' })
    control.failNext('start', failure('start_failed', 'asked for'))
    assert.equal((await bench.driver.start(want, bench.signal)).ok, false)
    assert.equal(control.live(want.id).length, 0)
    control.failAfterNext('start', failure('runtime_unreachable', 'answer lost'))
    assert.equal((await bench.driver.start(want, bench.signal)).ok, false)
    assert.equal(control.live(want.id).length, 1)
    assert.equal((await bench.driver.start(want, bench.signal)).ok, true)
    assert.equal(control.live(want.id).length, 1)
  })

  test('a hanging call ends when it is given up', async () => {
    const { harness: made, control } = harness()
    const bench = new Bench(made)
    control.hangNext('list')
    const result = await bench.driver.list(AbortSignal.timeout(20))
    assert.equal(result.ok ? 'ok' : result.error.code, 'cancelled')
    assert.equal((await bench.driver.list(bench.signal)).ok, true)
  })

  test('an unreachable runtime fails every call, hides what happens, and says when it is back', async () => {
    const { harness: made, control } = harness()
    const bench = new Bench(made)
    await bench.watch()
    const want = await bench.startReady()
    control.reachable(false)
    control.exit(want.id)
    const result = await bench.driver.list(bench.signal)
    assert.equal(result.ok ? 'ok' : result.error.code, 'runtime_unreachable')
    control.reachable(true)
    assert.equal(bench.exits(want.id), 0)
    assert.deepEqual(
      bench.events.filter((event) => event.kind === 'runtime'),
      [
        { kind: 'runtime', reachable: false },
        { kind: 'runtime', reachable: true },
      ],
    )
    assert.equal((await bench.seen(want))?.state, 'dead')
  })

  test('a partial listing says that it is partial', async () => {
    const { harness: made, control } = harness()
    const bench = new Bench(made)
    const [one, two] = [await bench.startReady(), await bench.startReady()]
    control.partialListings(true, [one.id])
    const listing = must(await bench.driver.list(bench.signal))
    assert.deepEqual([listing.complete, listing.seen.map((seen) => seen.id)], [false, [two.id]])
  })

  test('an oom end says so; a lost event is only seen by looking; a replaced process does not match', async () => {
    const { harness: made, control } = harness()
    const bench = new Bench(made)
    await bench.watch()
    const [one, two, three] = [await bench.startReady(), await bench.startReady(), await bench.startReady()]
    control.exit(one.id, { oom: true })
    control.exit(two.id, { code: 5, quiet: true })
    control.replace(three.id)
    assert.deepEqual([(await bench.seen(one))?.exit?.oom, bench.exits(one.id)], [true, 1])
    assert.deepEqual([(await bench.seen(two))?.exit?.code, bench.exits(two.id)], [5, 0])
    assert.equal((await bench.seen(three))?.matches, false)
    assert.equal(await bench.stop(three, 0), null)
    assert.equal(control.live(three.id).length, 1)
  })
})
