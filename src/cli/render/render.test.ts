import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instanceView } from '../../../tests/support/views.ts'
import { bytes, harmless, oneLine, span, until, when } from './human.ts'
import { historyText, instanceTable } from './instance.ts'
import { painter } from './paint.ts'
import { table } from './table.ts'

test.each([
  [0, '0s'],
  [59_999, '59s'],
  [60_000, '1m'],
  [3_600_000, '1h00m'],
  [7_500_000, '2h05m'],
  [86_400_000 * 4, '4d'],
  [-5, '0s'],
])('a span of %i ms is %s', (ms, text) => {
  expect(span(ms)).toBe(text)
})

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1Ki'],
  [1536, '1.5Ki'],
  [134_217_728, '128Mi'],
  [23_744_241_459, '22.1Gi'],
])('%i bytes are %s', (count, text) => {
  expect(bytes(count)).toBe(text)
})

test('times are absolute and relative, past and future', () => {
  const nowMs = Date.parse('2026-11-21T05:00:00.000Z')
  expect(when('2026-11-21T04:56:59.123Z', nowMs)).toBe('2026-11-21 04:56:59Z (3m ago)')
  expect(when('2026-11-21T05:00:10.000Z', nowMs)).toBe('2026-11-21 05:00:10Z (in 10s)')
  expect(until('2026-11-21T04:59:00.000Z', nowMs)).toBe('now')
})

test('no text from elsewhere reaches the terminal as a command', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(/[^\P{Cc}\n\t]/u.test(harmless(text))).toBe(false)
      expect(/\p{Cc}/u.test(oneLine(text))).toBe(false)
    }),
  )
})

test('a table whose columns may shrink fits any width they allow, and is whole in a pipe', () => {
  const columns = [
    { head: 'NAME', cell: (row: readonly string[]) => row[0] ?? '', shrinksTo: 8 },
    { head: 'STATE', cell: (row: readonly string[]) => row[1] ?? '' },
    { head: 'ID', cell: (row: readonly string[]) => row[2] ?? '', shrinksTo: 4, spare: true as const },
  ]
  const Word = fc.string({ minLength: 1, maxLength: 40, unit: fc.constantFrom('a', 'ä', '漢', 'z') })
  fc.assert(
    fc.property(
      fc.array(fc.tuple(Word, fc.constantFrom('running', 'failed'), Word), { maxLength: 5 }),
      fc.integer({ min: 20, max: 120 }),
      (rows, width) => {
        const text = table(rows, columns, width, painter(true))
        for (const line of text.trimEnd().split('\n')) expect([...stripVTControlCharacters(line)].length).toBeLessThanOrEqual(width)
        const whole = table(rows, columns, Number.POSITIVE_INFINITY, painter(false))
        for (const row of rows) for (const cell of row) expect(whole).toContain(cell)
      },
    ),
  )
})

test.each([60, 80, 100])('the tables of a replica fit a terminal of %i columns', (width) => {
  const error = {
    code: 'process_dead' as const,
    fields: {},
    message: 'gone',
    detail: 'It ended: killed by SIGKILL',
    next: 'Read',
    at: null,
    retry: 'soon' as const,
  }
  const at = '2026-11-21T05:00:00.000Z'
  const step = { seq: 1, at, incarnation: 12, from: 'crash_looping', to: 'crash_looping', reason: 'waiting_for_checks', error, exit: null }
  const trigger = { trigger: 'forced' as const, by: 'token:operator', data_loss_permitted: true }
  const when = { started_at: at, ended_at: at, duration_ms: 0 }
  const attempt = { incarnation: 12, attempt: 3, reason: 'crash_loop', ...trigger, outcome: 'self_recovered', ...when, error }
  const instance = instanceView({
    name: 'hello-prod-web-0',
    addresses: [{ name: 'http', protocol: 'tcp', internal: 1, host: '127.0.0.1', port: 46031 }],
  })
  const text = [
    instanceTable([instance], width, 0, painter(false)),
    historyText({ transitions: [step], attempts: [attempt] }, width, 0, painter(false)),
  ].join('\n')
  expect(text.split('\n').filter((line) => line.length > width)).toEqual([])
})
