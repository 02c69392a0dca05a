import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LogChunk } from '../driver.ts'
import { lastLines, StampedLines } from './logs.ts'

const stamp = (second: number) => `2026-01-01T00:00:${String(second).padStart(2, '0')}.123456789Z `
function collecting(): [LogChunk[], StampedLines] {
  const chunks: LogChunk[] = []
  return [chunks, new StampedLines((chunk) => chunks.push({ ...chunk, data: Uint8Array.from(chunk.data) }))]
}
function run(frames: readonly { stream?: LogChunk['stream']; second: number; text: string }[], pieceBytes = 7) {
  const [chunks, lines] = collecting()
  for (const { stream = 'stdout', second, text } of frames) {
    const bytes = Buffer.from(stamp(second) + text)
    for (let at = 0; at < bytes.length; at += pieceBytes)
      lines.push({ stream, data: bytes.subarray(at, at + pieceBytes), begins: at === 0, ends: at + pieceBytes >= bytes.length })
  }
  const text = (stream: LogChunk['stream']) =>
    Buffer.concat(chunks.filter((chunk) => chunk.stream === stream).map((chunk) => chunk.data)).toString()
  return { chunks, stdout: text('stdout'), stderr: text('stderr') }
}

test('the time is taken off each line and given beside it, in pieces of any size', () => {
  for (const pieceBytes of [1, 7, 31, 1000]) {
    const { chunks, stdout } = run(
      [
        { second: 1, text: 'one\n' },
        { second: 2, text: 'two\n' },
      ],
      pieceBytes,
    )
    expect(stdout).toBe('one\ntwo\n')
    expect([chunks[0]?.atMs, chunks.at(-1)?.atMs]).toEqual([Date.parse('2026-01-01T00:00:01.123Z'), Date.parse('2026-01-01T00:00:02.123Z')])
  }
})

test('pieces of one long line join; the line break that the engine lost after them is put back when the next line shows it', () => {
  expect(
    run([
      { second: 1, text: 'aaa' },
      { second: 1, text: 'bbb' },
      { second: 2, text: 'next\n' },
    ]).stdout,
  ).toBe('aaabbb\nnext\n')
})

test('what another stream says ends no line of this one', () => {
  const { stdout, stderr } = run([
    { second: 1, text: 'aaa' },
    { second: 2, text: 'err\n', stream: 'stderr' },
    { second: 1, text: 'bbb\n' },
  ])
  expect([stdout, stderr]).toEqual(['aaabbb\n', 'err\n'])
})

test('asked anew from any earlier place, each stream goes on where it was: nothing twice, nothing missing, also within one time', () => {
  const frameArb = fc.record({
    stream: fc.constantFrom('stdout', 'stderr'),
    step: fc.nat({ max: 2 }),
    text: fc.constantFrom('a\n', 'bb\n', 'c'),
  })
  fc.assert(
    fc.property(fc.array(frameArb, { maxLength: 20 }), fc.nat(), fc.nat(), (given, cut, back) => {
      let second = 1
      const frames = given.map(({ step, ...frame }) => {
        second += step
        return { ...frame, second }
      })
      const at = cut % (frames.length + 1)
      const whole = run(frames)
      const [chunks, lines] = collecting()
      const push = (from: number, to: number) => {
        for (const { stream, second, text } of frames.slice(from, to))
          lines.push({ stream, data: Buffer.from(stamp(second) + text), begins: true, ends: true })
      }
      push(0, at)
      if (at > 0) lines.passOverGiven()
      // The engine is asked from the last time on, and may give what is before that too.
      const fromMs = lines.lastMs ?? 0
      const needed = at === 0 ? 0 : frames.findIndex(({ second }) => Date.parse(stamp(second).trim()) >= fromMs)
      push(Math.max(0, needed - (back % 5)), frames.length)
      const text = (stream: string) =>
        chunks
          .filter((chunk) => chunk.stream === stream)
          .map((chunk) => Buffer.from(chunk.data).toString())
          .join('')
      expect([text('stdout'), text('stderr')]).toEqual([whole.stdout, whole.stderr])
    }),
  )
})

test('an unfinished last line stays unfinished', () => {
  expect(
    run([
      { second: 1, text: 'a\n' },
      { second: 2, text: 'no end' },
    ]).stdout,
  ).toBe('a\nno end')
})

test('tail of saved output: the last n lines, as a property against splitting', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('a', 'bb', '', '\u{1F600}'), { maxLength: 8 }),
      fc.boolean(),
      fc.nat({ max: 10 }),
      (lines, ended, count) => {
        const text = lines.join('\n') + (ended && lines.length > 0 ? '\n' : '')
        const whole = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
        expect(lastLines(Buffer.from(text), count).toString()).toBe(count === 0 ? '' : whole.slice(-count).join(''))
      },
    ),
  )
})
