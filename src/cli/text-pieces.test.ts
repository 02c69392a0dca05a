import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cli } from '../../tests/support/cli.ts'
import { stubApi } from '../../tests/support/stub-api.ts'
import type { OutputChunk } from '../client/stream.ts'
import { TextPieces } from './text-pieces.ts'

const chunk = (stream: OutputChunk['stream'], bytes: readonly number[], lostBytes = 0): OutputChunk => ({
  stream,
  at: null,
  data: Buffer.from(bytes),
  lostBytes,
})

test('wherever two streams are cut, and however they interleave, their text is whole', () => {
  const cut = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), cut, (out, err, cuts) => {
      const left = { stdout: Buffer.from(out), stderr: Buffer.from(err) }
      const expected = { stdout: left.stdout.toString('utf8'), stderr: left.stderr.toString('utf8') }
      const pieces = new TextPieces()
      const got = { stdout: '', stderr: '' }
      const add = (told: ReturnType<TextPieces['take']>) => {
        for (const { stream, data } of told) got[stream] += data
      }
      const give = (stream: 'stdout' | 'stderr', length: number) => {
        add(pieces.take({ stream, at: null, data: left[stream].subarray(0, length), lostBytes: 0 }))
        left[stream] = left[stream].subarray(length)
      }
      for (const [isOut, length] of cuts) give(isOut ? 'stdout' : 'stderr', length)
      for (const stream of ['stdout', 'stderr'] as const) give(stream, left[stream].length)
      add(pieces.end())
      expect(got).toEqual(expected)
    }),
  )
})

test('half a character before a gap is told before the gap, and joined to nothing behind it', () => {
  const pieces = new TextPieces()
  expect(pieces.take(chunk('stdout', [0x61, 0xc3]))).toMatchObject([{ data: 'a' }])
  expect(pieces.take(chunk('stdout', [0xa4, 0x62], 7))).toEqual([
    { stream: 'stdout', at: null, data: '\ufffd', lostBytes: 0 },
    { stream: 'stdout', at: null, data: '\ufffdb', lostBytes: 7 },
  ])
  expect(pieces.end()).toEqual([])
})

const asked = async (args: readonly string[], lines: readonly unknown[]) => {
  const api = await stubApi(() => ({ lines }))
  const { out } = await cli(args, { env: { HOLDFAST_URL: api.url, HOLDFAST_TOKEN: 'secret-token' } })
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}
const line = (stream: string, bytes: readonly number[]) => ({ stream, at: null, data: Buffer.from(bytes).toString('base64') })

test.each([
  ['logs', ['logs', 'web', '--json'], [{ stream: 'stdout', at: null, data: '\ufffd' }]],
  ['exec', ['exec', 'web', '--json', '--', 'cat'], [{ stream: 'stdout', data: '\ufffd' }, { exit_code: 0 }]],
])('%s --json keeps a character whole that two pieces share, and tells half of one at the end', async (_name, args, last) => {
  const told = await asked(args, [
    line('stdout', [0xef, 0xbb, 0xbf, 0xf0, 0x9f]),
    line('stderr', [0xc3]),
    line('stdout', [0x98, 0x80]),
    line('stderr', [0xa4, 0x0a]),
    line('stdout', [0xe2, 0x82]),
    { end: true, exit_code: 0, lost_bytes: 0 },
  ])
  expect(told.slice(0, 3)).toMatchObject([
    { stream: 'stdout', data: '\ufeff' },
    { stream: 'stdout', data: '😀' },
    { stream: 'stderr', data: 'ä\n' },
  ])
  expect(told.slice(3)).toEqual(last)
})

test('what was held back is told also before an error cuts the stream short', async () => {
  const broken = { type: 'about:blank', title: 'x', status: 503, detail: 'gone', code: 'node_unreachable', hint: 'try' }
  const told = await asked(
    ['logs', 'web', '--json'],
    [line('stdout', [0xc3]), { error: { ...broken, retryable: true, request_id: 'req_1' } }],
  )
  expect(told).toMatchObject([{ stream: 'stdout', data: '\ufffd' }, { error: { code: 'node_unreachable' } }])
})
