// What the documents say must be so: links lead somewhere, generated pages equal their source, the map of the code fits two screens.
import { existsSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ERRORS } from '../src/contracts/errors.ts'
import { errorsDocument } from '../tools/errors-doc.ts'
import { brokenLinks } from './support/links.ts'
import { filesBelow, filesOf, ROOT, readText } from './support/tree.ts'

const ARCHITECTURE_LINES_MAX = 150
const documents = [
  ...filesOf('.'),
  ...['docs', 'examples', 'ops'].filter((folder) => existsSync(join(ROOT, folder))).flatMap(filesBelow),
].filter((path) => path.endsWith('.md'))

describe('documents', () => {
  test('the map of the code fits 150 lines', () => {
    expect(readText('ARCHITECTURE.md').trimEnd().split('\n').length).toBeLessThanOrEqual(ARCHITECTURE_LINES_MAX)
  })
  test('every relative link leads to a file, and to a heading in it', () => {
    const read = (path: string) => (existsSync(join(ROOT, path)) ? (path.endsWith('.md') ? readText(path) : '') : undefined)
    expect(documents.flatMap((path) => brokenLinks(path, readText(path), (link) => read(normalize(join(dirname(path), link)))))).toEqual([])
  })
  test('the page of errors equals the table of errors; mend: npx node tools/errors-doc.ts', () => {
    expect(readText('docs/errors.md')).toBe(errorsDocument())
  })
  test('every error says what happened and what to do, in whole sentences', () => {
    const rows = Object.entries(ERRORS)
    // The words of this one message are fixed by the requirements, also where they are part of a longer line.
    const bad = rows.filter(([code, row]) => !row.next.endsWith('.') || !(row.message.endsWith('.') || code === 'memory_limit_exceeded'))
    expect(bad.map(([code]) => code)).toEqual([])
  })
  test('every decision record says what was chosen and what would change our mind', () => {
    const records = documents.filter((path) => /^docs\/decisions\/\d{4}-/.test(path))
    expect(records.length).toBeGreaterThan(0)
    const parts = ['## Context', '## Choice', '## What would change our mind']
    expect(
      records.flatMap((path) => parts.filter((part) => !readText(path).includes(`\n${part}\n`)).map((part) => `${path}: no "${part}"`)),
    ).toEqual([])
  })
})

describe('links: the checker', () => {
  const files: Readonly<Record<string, string>> = { 'b.md': '# Top\n## A `code` heading, twice\n## A `code` heading, twice\n', '.': '' }
  const broken = (text: string) => brokenLinks('a.md', text, (path) => files[path])

  test.each(['[x](gone.md)', '[x](./gone.md#a)', '![x](gone.png)', '[x]: gone.md', '[x](b.md#gone)', '[x](#gone)'])(
    'broken: %s',
    (text) => {
      expect(broken(text)).toHaveLength(1)
    },
  )
  test.each([
    '[x](b.md)',
    '[x](b.md#top)',
    '[x](b.md#a-code-heading-twice-1)',
    '[x](https://example.org/gone)',
    '[x](mailto:a@example.org)',
    '# Here\n[x](#here)',
    '`[x](gone.md)`',
    '```\n[x](gone.md)\n```',
  ])('whole: %s', (text) => {
    expect(broken(text)).toEqual([])
  })
})
