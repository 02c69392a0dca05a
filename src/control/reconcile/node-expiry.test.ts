import fc from 'fast-check'
import { assert, describe, expect, test } from 'vitest'
import { nodeOf } from '../../../tests/support/control-records.ts'
import type { NodeRecord } from '../model/node.ts'
import { expireNodes, UNWATCHED, type Watch } from './node-expiry.ts'

const SILENT_MS = 20_000
const LOOK_MS = 5000
const seen = (id: string, lastSeenAtMs: number) => nodeOf(id, { lastSeenAtMs })

/** Looks every five seconds from the beginning to `untilMs`; the ids expired at the last look. */
function watching(untilMs: number, nodes: (elapsedMs: number) => readonly NodeRecord[], from: Watch = UNWATCHED, startMs = 0) {
  let watch = from
  let last: ReturnType<typeof expireNodes> | undefined
  for (let at = startMs; at <= untilMs; at = at < untilMs ? Math.min(at + LOOK_MS, untilMs) : at + 1) {
    last = expireNodes(watch, nodes(at), at, SILENT_MS)
    watch = last.watch
  }
  return { watch, expired: last?.expired.map((node) => node.id), nextLookMs: last?.nextLookMs }
}

describe('a node expires by silence alone', () => {
  test('after exactly the limit without a new message, and stays expired until it speaks', () => {
    const silent = () => [seen('a', 1)]
    expect(watching(0, silent)).toMatchObject({ expired: [], nextLookMs: SILENT_MS })
    expect(watching(19_999, silent)).toMatchObject({ expired: [], nextLookMs: 1 })
    expect(watching(20_000, silent)).toMatchObject({ expired: ['a'], nextLookMs: null })
    expect(watching(90_000, silent).expired).toEqual(['a'])
    expect(watching(90_000, (at) => [seen('a', at < 90_000 ? 1 : 2)]).expired).toEqual([])
  })

  test('a message starts the time anew', () => {
    const spoke = (at: number) => [seen('a', at < 19_000 ? 1 : 2)]
    expect(watching(39_999, spoke).expired).toEqual([])
    expect(watching(40_000, spoke).expired).toEqual(['a'])
  })

  test('a control plane that was away for an hour gives every agent the full time to come back', () => {
    const hourAgo = 1_800_000_000_000 - 3_600_000
    expect(watching(19_999, () => [seen('a', hourAgo)]).expired).toEqual([])
  })

  test('while the store was away no message could be written: after the gap everybody has the full time again', () => {
    const silent = () => [seen('a', 1)]
    const { watch } = watching(10_000, silent)
    expect(expireNodes(watch, silent(), 70_000, SILENT_MS).expired).toEqual([])
    expect(watching(89_999, silent, watch, 70_000).expired).toEqual([])
    expect(watching(90_000, silent, watch, 70_000).expired).toEqual(['a'])
  })

  test('wall clock values mean nothing but "changed": an older one is a message too', () => {
    expect(watching(20_000, (at) => [seen('a', at < 20_000 ? 9_000_000 : 1)]).expired).toEqual([])
  })

  test('nodes expire one by one, and a removed one is forgotten', () => {
    const both = watching(20_000, (at) => [seen('b', 1), seen('a', at)])
    expect(both.expired).toEqual(['b'])
    expect([...expireNodes(both.watch, [seen('a', 2)], 21_000, SILENT_MS).watch.nodes.keys()]).toEqual(['a'])
  })

  test('whenever it is looked at, a node that speaks every five seconds never expires', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60_000 }), { maxLength: 40 }), fc.integer({ min: 0, max: 4999 }), (gaps, phase) => {
        let watch = UNWATCHED
        let at = 0
        for (const gap of gaps) {
          at += gap
          const { expired, watch: next } = expireNodes(watch, [seen('a', Math.floor((at + phase) / 5000))], at, SILENT_MS)
          watch = next
          assert.deepEqual(expired, [])
        }
      }),
    )
  })
})
