// Promises that garbage collection rests on: a listing shows what nobody told this driver of, and what it says is enough to end it.
import assert from 'node:assert/strict'
import { type Bench, must, until } from './conformance-kit.ts'
import type { Emit } from './driver.ts'

const STOP = { signal: 'SIGTERM', graceMs: 5000 } as const

export const strangers = {
  'a list shows strangers with our mark, and what it says of them is enough to weigh, stop, read and remove them': async (bench: Bench) => {
    const [known, stranger] = [await bench.startReady(), await bench.startReady()]
    // This driver has been told of nothing.
    bench.driver = await bench.harness.reopen()
    const foreign = await bench.harness.foreign()
    try {
      const listing = must(await bench.driver.list(bench.signal))
      assert.equal(listing.complete, true)
      assert.deepEqual(listing.seen.map(({ id }) => id).sort(), [known.id, stranger.id].sort())
      const seen = listing.seen.find(({ id }) => id === stranger.id)
      assert.ok(seen?.matches && seen.state === 'running')
      const target = { id: seen.id, incarnation: seen.incarnation, nonce: seen.nonce }
      assert.ok((must(await bench.driver.weigh(target, bench.signal)) ?? -1) >= 0, 'its size is known')
      must(await bench.driver.stop(target, STOP, bench.signal))
      must(await bench.driver.remove(target, bench.signal))
      const left = must(await bench.driver.list(bench.signal)).seen
      assert.deepEqual(
        left.map(({ id }) => id),
        [known.id],
      )
      must(await bench.driver.probe(known, bench.signal))
      assert.equal(await foreign.alive(), true)
      assert.equal(must(await bench.driver.weigh({ ...target, nonce: 'another' }, bench.signal)), null)
    } finally {
      await foreign.dispose()
    }
  },
  'the output of an incarnation that was removed can be had by its number alone': async (bench: Bench) => {
    const want = bench.want({ kind: 'print', stdout: Buffer.from('last words\n'), stderr: Buffer.alloc(0) })
    await bench.start(want)
    await until('it has said them', async () => (await bench.output(want)).includes('last words'))
    must(await bench.driver.stop(want, STOP, bench.signal))
    must(await bench.driver.remove(want, bench.signal))
    let said = ''
    const take: Emit = ({ data }) => {
      said += Buffer.from(data).toString()
    }
    const byNumber = { id: want.id, incarnation: want.incarnation, nonce: '' }
    const options = { follow: false, tailLines: 10, sinceMs: null }
    must(await bench.driver.logs(byNumber, options, take, bench.signal))
    assert.ok(said.startsWith('last words\n'), said)
  },
} as const
