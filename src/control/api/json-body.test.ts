import { expect, test } from 'vitest'
import { parseBody, refuseNul } from './json-body.ts'

const none: ReadonlySet<string> = new Set()
const parse = (text: string) => parseBody(Buffer.from(text, 'utf8'))

test('an empty body is no body, and a body is parsed as it is', () => {
  expect(parse('')).toEqual({ ok: true, value: undefined })
  expect(parse('{"a":[1,{"b":"ü"}]}')).toEqual({ ok: true, value: { a: [1, { b: 'ü' }] } })
})

test.each([
  ['cut off', '{"a":', 'not valid JSON'],
  ['a raw NUL byte', '{"a":"\0"}', 'not valid JSON'],
  ['deep nesting', '['.repeat(500_000), 'not valid JSON'],
  ['half a character', '{"metadata":{"note":"\\ud800"}}', 'half of a surrogate pair, at "note"'],
  ['half a character in a key', '{"\\udc00":1}', 'half of a surrogate pair'],
  ['a prototype key', '{"a":{"__proto__":{"admin":true}}}', '__proto__'],
])('%s is invalid_input, never a crash', (_name, text, said) => {
  expect(parse(text)).toMatchObject({
    ok: false,
    error: { code: 'invalid_input', detail: expect.stringContaining(said), fields: { field: 'body' } },
  })
})

test('bytes that are not UTF-8 are refused instead of being replaced', () => {
  expect(parseBody(Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({
    ok: false,
    error: { code: 'invalid_input', detail: 'body: it is not UTF-8' },
  })
})

test('a NUL in any text or key is found by its place; allowed where bytes are meant', () => {
  expect(refuseNul({ command: ['a', 'b\0'] }, none)).toMatchObject({
    code: 'invalid_input',
    detail: 'command.1: must not contain a NUL byte',
    fields: { field: 'command.1' },
  })
  expect(refuseNul({ env: { 'A\0': 'x' } }, none)).toMatchObject({ detail: 'env."A\\u0000": must not contain a NUL byte' })
  expect(refuseNul({ user_data: '#!/bin/sh\0' }, none)).toMatchObject({ code: 'invalid_user_data' })
  expect(refuseNul({ stdin: '\0', command: ['cat'] }, new Set(['stdin']))).toBeUndefined()
  expect(refuseNul({ command: ['a'], n: 1, x: null }, none)).toBeUndefined()
})
