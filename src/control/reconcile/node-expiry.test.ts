import { describe, expect, test } from 'vitest'
import { nodeOf } from '../../../tests/support/control-records.ts'
import { expireNodes, type Watch } from './node-expiry.ts'

const SILENT_MS = 20_000
const none: Watch = new Map()
const ids = (expiry: ReturnType<typeof expireNodes>) => expiry.expired.map((node) => node.id)
const seen = (id: string, lastSeenAtMs: number) => nodeOf(id, { lastSeenAtMs })

describe('a node expires by silence alone', () => {
  test('after exactly the limit without a new message, and stays expired until it speaks', () => {
    const first = expireNodes(none, [seen('a', 1)], 0, SILENT_MS)
    expect(first).toMatchObject({ expired: [], nextLookMs: SILENT_MS })
    const before = expireNodes(first.watch, [seen('a', 1)], 19_999, SILENT_MS)
    expect(before).toMatchObject({ expired: [], nextLookMs: 1 })
    const at = expireNodes(before.watch, [seen('a', 1)], 20_000, SILENT_MS)
    expect(ids(at)).toEqual(['a'])
    expect(at.nextLookMs).toBe(null)
    expect(ids(expireNodes(at.watch, [seen('a', 1)], 90_000, SILENT_MS))).toEqual(['a'])
    expect(ids(expireNodes(at.watch, [seen('a', 2)], 90_000, SILENT_MS))).toEqual([])
  })

  test('a message starts the time anew', () => {
    const first = expireNodes(none, [seen('a', 1)], 0, SILENT_MS)
    const second = expireNodes(first.watch, [seen('a', 2)], 19_000, SILENT_MS)
    expect(ids(expireNodes(second.watch, [seen('a', 2)], 38_999, SILENT_MS))).toEqual([])
    expect(ids(expireNodes(second.watch, [seen('a', 2)], 39_000, SILENT_MS))).toEqual(['a'])
  })

  test('a control plane that was away for an hour gives every agent the full time to come back', () => {
    const hourAgo = 1_800_000_000_000 - 3_600_000
    expect(ids(expireNodes(none, [seen('a', hourAgo)], 5000, SILENT_MS))).toEqual([])
  })

  test('wall clock values mean nothing but "changed": an older one is a message too', () => {
    const first = expireNodes(none, [seen('a', 9_000_000)], 0, SILENT_MS)
    expect(ids(expireNodes(first.watch, [seen('a', 1)], 20_000, SILENT_MS))).toEqual([])
  })

  test('nodes expire one by one, and a removed one is forgotten', () => {
    const first = expireNodes(none, [seen('b', 1), seen('a', 1)], 0, SILENT_MS)
    const second = expireNodes(first.watch, [seen('b', 1), seen('a', 2)], 20_000, SILENT_MS)
    expect(ids(second)).toEqual(['b'])
    const third = expireNodes(second.watch, [seen('a', 2)], 21_000, SILENT_MS)
    expect([...third.watch.keys()]).toEqual(['a'])
  })
})
