import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrameParser, type FramePiece } from './frames.ts'
import { LineSplitter } from './lines.ts'

const frame = (stream: number, data: Uint8Array) => {
  const header = Buffer.alloc(8)
  header[0] = stream
  header.writeUInt32BE(data.length, 4)
  return Buffer.concat([header, data])
}
const framesArb = fc.array(fc.record({ stream: fc.constantFrom(1, 2), data: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 12 })
/** The same bytes in random pieces. */
function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...at, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : at[index - 1], end))
}

test('however the bytes are split, each stream gets its bytes in order and frames begin and end where they do', () => {
  fc.assert(
    fc.property(framesArb, fc.array(fc.nat(), { maxLength: 30 }), (frames, cuts) => {
      const pieces: FramePiece[] = []
      const parser = new FrameParser((piece) => pieces.push({ ...piece, data: Uint8Array.from(piece.data) }))
      for (const chunk of split(Buffer.concat(frames.map(({ stream, data }) => frame(stream, data))), cuts)) parser.push(chunk)
      for (const [stream, name] of [
        [1, 'stdout'],
        [2, 'stderr'],
      ] as const) {
        const want = Buffer.concat(frames.filter((one) => one.stream === stream).map((one) => one.data))
        expect(Buffer.concat(pieces.filter((piece) => piece.stream === name).map((piece) => piece.data)).equals(want)).toBe(true)
      }
      const full = frames.filter((one) => one.data.length > 0).length
      expect(pieces.filter((piece) => piece.begins)).toHaveLength(full)
      expect(pieces.filter((piece) => piece.ends)).toHaveLength(full)
      expect([parser.intact, parser.atBoundary]).toEqual([true, true])
    }),
  )
})

test('a stream cut off in a frame is not at a boundary', () => {
  const parser = new FrameParser(() => undefined)
  parser.push(frame(1, Buffer.from('hello')).subarray(0, 10))
  expect(parser.atBoundary).toBe(false)
})

test('bytes of another format are recognised and nothing of them is handed on', () => {
  const pieces: FramePiece[] = []
  const parser = new FrameParser((piece) => pieces.push(piece))
  parser.push(Buffer.from('HTTP/1.1 500 oh dear\r\n'))
  expect([parser.intact, pieces.length]).toEqual([false, 0])
})

test('a frame that claims 4 GiB costs nothing: its bytes are handed on as they come', () => {
  const pieces: FramePiece[] = []
  const parser = new FrameParser((piece) => pieces.push(piece))
  parser.push(Buffer.from([1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 65, 66]))
  expect(pieces.map((piece) => Buffer.from(piece.data).toString())).toEqual(['AB'])
})

test('lines come whole from any split; empty ones and an unfinished last one do not count', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 20 }).map((line) => line.replaceAll('\n', ' '))), fc.array(fc.nat()), (lines, cuts) => {
      const got: string[] = []
      const splitter = new LineSplitter((line) => got.push(line.toString()))
      for (const chunk of split(Buffer.from(`${lines.map((line) => `${line}\n`).join('')}rest`), cuts)) splitter.push(chunk)
      expect(got).toEqual(lines.filter((line) => line !== ''))
    }),
  )
})

test('a line without end is given up, not gathered', () => {
  const splitter = new LineSplitter(() => undefined)
  for (let count = 0; count < 20; count += 1) splitter.push(Buffer.alloc(100_000, 'x'))
  expect(splitter.intact).toBe(false)
})
