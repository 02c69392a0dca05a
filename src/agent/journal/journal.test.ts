import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { openJournal, readJournalSync } from './journal.ts'
import { encodeLine, scanLines } from './lines.ts'

const fill = async (path: string, records: readonly unknown[]) => {
  const journal = openJournal(path)
  for (const record of records) expect(await journal.append(record)).toEqual({ ok: true, value: undefined })
}

describe('the journal', () => {
  test('what was appended is read back in order, also by the next process', async () => {
    const path = join(await tmpDir(), 'journal')
    await fill(path, [{ n: 1 }, { text: 'line\nfeed, ünïcode, \u2028' }])
    await fill(path, [null, [3]])
    expect(readJournalSync(path)).toEqual([{ n: 1 }, { text: 'line\nfeed, ünïcode, \u2028' }, null, [3]])
  })

  test('no file means no records, and reading makes none', async () => {
    const path = join(await tmpDir(), 'journal')
    expect(readJournalSync(path)).toEqual([])
    openJournal(path)
    expect(readJournalSync(path)).toEqual([])
    expect(readdirSync(join(path, '..'))).toEqual([])
  })

  test('appends asked for at once keep their order', async () => {
    const path = join(await tmpDir(), 'journal')
    const journal = openJournal(path)
    await Promise.all(Array.from({ length: 50 }, (_, n) => journal.append(n)))
    expect(readJournalSync(path)).toEqual(Array.from({ length: 50 }, (_, n) => n))
  })

  test('a write torn at any byte loses that record only, and the next append is read back', async () => {
    const path = join(await tmpDir(), 'journal')
    await fill(path, [{ n: 1 }, { n: 2, text: 'é' }])
    const whole = readFileSync(path)
    const firstBytes = Buffer.byteLength(encodeLine({ n: 1 }))
    for (let cut = 0; cut < whole.length; cut += 1) {
      writeFileSync(path, whole.subarray(0, cut))
      const survivors = cut < firstBytes ? [] : [{ n: 1 }]
      expect(readJournalSync(path)).toEqual(survivors)
      await fill(path, [{ n: 3 }])
      expect(readJournalSync(path)).toEqual([...survivors, { n: 3 }])
    }
  })

  test('property: garbage anywhere never makes a record, and never hides one that is whole', () => {
    const line = fc.oneof(
      fc.jsonValue().map((value) => ({ text: encodeLine(value), good: true })),
      fc.string().map((text) => ({ text: `${text.replaceAll('\n', '')}\n`, good: false })),
    )
    fc.assert(
      fc.property(fc.array(line), fc.string(), (parts, tail) => {
        const { lines } = scanLines(Buffer.from(parts.map(({ text }) => text).join('') + tail.replaceAll('\n', '')))
        expect(lines).toEqual(parts.filter(({ good }) => good).map(({ text }) => text))
      }),
    )
  })

  test('property: one flipped bit never yields a record that was not written', () => {
    const written = [{ n: 1 }, { n: 2 }, { n: 3 }]
    const whole = Buffer.from(written.map(encodeLine).join(''))
    fc.assert(
      fc.property(fc.integer({ min: 0, max: whole.length * 8 - 1 }), (bit) => {
        const bytes = Buffer.from(whole)
        bytes[bit >> 3] = whole[bit >> 3]! ^ (1 << (bit & 7))
        const originals = written.map(encodeLine)
        const { lines } = scanLines(bytes)
        expect(originals).toEqual(expect.arrayContaining([...lines]))
        expect(lines.length).toBeLessThan(written.length)
      }),
    )
  })

  test('a journal that grew too long keeps its newest lines', async () => {
    const path = join(await tmpDir(), 'journal')
    const journal = openJournal(path, { compactBytes: 2000, keepLines: 5, keepBytes: 2 ** 20 })
    for (let n = 0; n < 400; n += 1) {
      expect((await journal.append({ n })).ok).toBe(true)
      expect(statSync(path).size).toBeLessThanOrEqual(2100)
    }
    const kept = readJournalSync(path)
    expect(kept.length).toBeGreaterThanOrEqual(5)
    expect(kept.at(-1)).toEqual({ n: 399 })
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, at) => ({ n: 400 - kept.length + at })))
    expect(readdirSync(join(path, '..'))).toEqual(['journal'])
  })

  test('large records stay within the bytes to keep, and are not rewritten at every append', async () => {
    const path = join(await tmpDir(), 'journal')
    const journal = openJournal(path, { compactBytes: 1000, keepLines: 64, keepBytes: 5000 })
    let shrunk = 0
    for (let n = 0, before = 0; n < 60; n += 1) {
      await journal.append({ n, text: 'x'.repeat(900) })
      const { size } = statSync(path)
      if (size < before) shrunk += 1
      before = size
      expect(size).toBeLessThanOrEqual(12_000)
    }
    expect(shrunk).toBeGreaterThan(3)
    expect(shrunk).toBeLessThan(20)
    expect(readJournalSync(path).at(-1)).toMatchObject({ n: 59 })
  })

  test('a failed append is a typed value, and the journal works again when the cause is gone', async () => {
    const dir = join(await tmpDir(), 'inst')
    mkdirSync(dir)
    const path = join(dir, 'journal')
    const journal = openJournal(path)
    await journal.append({ n: 1 })
    rmSync(dir, { recursive: true })
    expect(await journal.append({ n: 2 })).toMatchObject({ ok: false, error: { code: 'file_error', fields: { errno: 'ENOENT', path } } })
    mkdirSync(dir)
    expect((await journal.append({ n: 3 })).ok).toBe(true)
    expect(readJournalSync(path)).toEqual([{ n: 3 }])
  })

  test('what another process left half-written is cut off, not glued to the next record', async () => {
    const path = join(await tmpDir(), 'journal')
    await fill(path, [1])
    appendFileSync(path, encodeLine({ n: 2 }).slice(0, -1))
    await fill(path, [3])
    expect(readJournalSync(path)).toEqual([1, 3])
    expect(readFileSync(path, 'utf8')).toBe(encodeLine(1) + encodeLine(3))
  })

  test('a thousand journals are read within a second', async () => {
    const dir = await tmpDir()
    const lines = Array.from({ length: 20 }, (_, n) => encodeLine({ n, text: 'x'.repeat(2000) })).join('')
    for (let n = 0; n < 1000; n += 1) writeFileSync(join(dir, `j${n}`), lines)
    const startMs = performance.now()
    for (let n = 0; n < 1000; n += 1) expect(readJournalSync(join(dir, `j${n}`)).length).toBe(20)
    expect(performance.now() - startMs).toBeLessThan(1000)
    truncateSync(join(dir, 'j0'), 0)
    expect(readJournalSync(join(dir, 'j0'))).toEqual([])
  })
})
