import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { durationText } from './duration-text.ts'

test.each([
  [0, '0 ms'],
  [1, '1 ms'],
  [250.4, '250 ms'],
  [999.7, '1 s'],
  [1000, '1 s'],
  [1500, '1.5 s'],
  [2000, '2 s'],
  [59_960, '1 min'],
  [60_000, '1 min'],
  [90_000, '1 min 30 s'],
  [600_000, '10 min'],
  [3_600_000, '1 h'],
  [3_660_000, '1 h 1 min'],
  [90_000_000, '25 h'],
])('%d milliseconds are said as %s', (ms, text) => {
  expect(durationText(ms)).toBe(text)
})

test('no sentence of ours counts milliseconds by itself', () => {
  const root = path.resolve(import.meta.dirname, '..')
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.test.ts'),
  )
  const found = files.flatMap((file) =>
    readFileSync(path.join(root, file), 'utf8')
      .split('\n')
      .flatMap((line, at) => (/\$\{[^}]*(Ms|_MS)\)?\} ms\b/.test(line) ? [`${file}:${at + 1}`] : [])),
  )
  expect(files.length).toBeGreaterThan(200)
  expect(found).toEqual([])
})
