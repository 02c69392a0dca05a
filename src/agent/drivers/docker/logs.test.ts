import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LogChunk } from '../driver.ts'
import { lastLines } from './logs.ts'
import { StampedLines } from './stamped-lines.ts'

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
  return { chunks, stdout: textOf(chunks, 'stdout'), stderr: textOf(chunks, 'stderr') }
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

/** Lines with times of their own; those of `pieces` more than one come in several frames, whose last has lost its line break. */
const lineArb = fc.record({ stream: fc.constantFrom('stdout' as const, 'stderr' as const), pieces: fc.integer({ min: 1, max: 3 }) })
const framesArb = fc
  .array(lineArb, { maxLength: 12 })
  .map((lines) =>
    lines.flatMap(({ stream, pieces }, line) =>
      Array.from({ length: pieces }, (_, piece) => ({ stream, second: line + 1, text: pieces === 1 ? `${line}\n` : `${line}.${piece} ` })),
    ),
  )
const pushed = (lines: StampedLines, frames: readonly { stream: LogChunk['stream']; second: number; text: string }[]) => {
  for (const { stream, second, text } of frames) lines.push({ stream, data: Buffer.from(stamp(second) + text), begins: true, ends: true })
}
const textOf = (chunks: readonly LogChunk[], stream: LogChunk['stream']) =>
  Buffer.concat(chunks.filter((chunk) => chunk.stream === stream).map((chunk) => chunk.data)).toString()

test('asked anew from any earlier place, each stream goes on where it was: nothing twice, nothing missing, also within one time', () => {
  fc.assert(
    fc.property(framesArb, fc.nat(), fc.nat(), (frames, cut, back) => {
      const at = cut % (frames.length + 1)
      const [chunks, lines] = collecting()
      pushed(lines, frames.slice(0, at))
      if (at > 0) lines.passOverGiven()
      // The engine is asked from the last time on, and may give what is before that too.
      const fromMs = lines.lastMs ?? 0
      const needed = at === 0 ? 0 : frames.findIndex(({ second }) => Date.parse(stamp(second).trim()) >= fromMs)
      pushed(lines, frames.slice(Math.max(0, needed - (back % 5))))
      const whole = run(frames)
      expect([textOf(chunks, 'stdout'), textOf(chunks, 'stderr')]).toEqual([whole.stdout, whole.stderr])
    }),
  )
})

test('an engine that begins a file again, also more than once and in the middle of that, gives nothing twice', () => {
  const repeatsArb = fc.array(fc.record({ reached: fc.nat(), from: fc.nat() }), { maxLength: 4 })
  fc.assert(
    fc.property(framesArb, repeatsArb, (frames, repeats) => {
      const [chunks, lines] = collecting()
      let [at, furthest] = [0, 0]
      for (const { reached, from } of repeats) {
        const to = at + (reached % (frames.length - at + 1))
        pushed(lines, frames.slice(at, to))
        furthest = Math.max(furthest, to)
        const known = frames.slice(0, furthest)
        // A file begins with the first frame of a line. A long line that was given last has to have another one of its stream before it
        // there: nothing else tells its first frame from its next.
        const told = (index: number) =>
          (['stdout', 'stderr'] as const).every((stream) => {
            const again = known.slice(index).filter((frame) => frame.stream === stream)
            return again.at(-1)?.text.endsWith('\n') !== false || again[0]?.second !== again.at(-1)?.second
          })
        const begins = known.flatMap(({ second }, index) => (frames[index - 1]?.second !== second && told(index) ? [index] : []))
        at = begins[from % (begins.length || 1)] ?? to
      }
      pushed(lines, frames.slice(at))
      const whole = run(frames)
      expect([textOf(chunks, 'stdout'), textOf(chunks, 'stderr')]).toEqual([whole.stdout, whole.stderr])
    }),
  )
})

test('lines after the clock was set back are new ones', () => {
  const at = (second: number, text: string) => ({ second, text })
  expect(run([at(30, 'a\n'), at(31, 'b\n'), at(10, 'c\n'), at(11, 'd\n'), at(32, 'e\n')]).stdout).toBe('a\nb\nc\nd\ne\n')
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
