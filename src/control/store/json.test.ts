import fc from 'fast-check'
import { expect, test } from 'vitest'
import { json } from './json.ts'

test('what jsonb can store passes unchanged, backslashes before a u included', () => {
  for (const value of [{ a: 'x\\u0000' }, { a: '\\ud800' }, { a: ['🦊', null, 1.5, true] }, { 'k\\u0000': 1 }, {}])
    expect(JSON.parse(json(value))).toEqual(value)
})

test('no output holds an escaped NUL or a lone surrogate, in keys or values, at any depth', () => {
  const text = fc.string({ unit: fc.constantFrom('\0', '\ud800', '\udc00', '\\', 'u0000', 'a', '"') })
  const value = fc.letrec((tie) => ({
    tree: fc.oneof({ depthSize: 'small' }, text, fc.array(tie('tree')), fc.dictionary(text, tie('tree'))),
  })).tree
  fc.assert(
    fc.property(fc.record({ value }), (given) => {
      const found: string[] = []
      JSON.parse(json(given), (key, item) => {
        found.push(key, ...(typeof item === 'string' ? [item] : []))
        return item
      })
      expect(found.every((one) => !one.includes('\0') && one.isWellFormed())).toBe(true)
    }),
  )
})
