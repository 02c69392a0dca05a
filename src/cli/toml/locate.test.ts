import fc from 'fast-check'
import { parse, stringify } from 'smol-toml'
import { expect, test } from 'vitest'
import { indexKeys, locate } from './locate.ts'

const at = (text: string, ...path: (string | number)[]) => {
  const { line, column } = locate(text, path)
  return `${line}:${column}`
}

const MANIFEST = `# a comment with [brackets] and a = 1
schema_version = "v1"

[app]
name = 'hello'   # trailing

[processes.web]
  comand = ["node", "a = 1",
    "]", ]
resources.memory = "128Mi"
health = { type = "http", "path" = "/", port = 1 }
text = """
[not.a.table]
x = 1
\\""" still"""
after = 1
[[processes.web.ports]]
internal = 0
[[processes.web.ports]]
name = "b"
internal = 99999
[processes."odd name"]
scaling = [ { min = 1 }, { min = 2,
  max = 3 } ]
`

test('each kind of key is found where it is written', () => {
  expect(at(MANIFEST, 'schema_version')).toBe('2:1')
  expect(at(MANIFEST, 'app', 'name')).toBe('5:1')
  expect(at(MANIFEST, 'processes', 'web')).toBe('7:12')
  expect(at(MANIFEST, 'processes', 'web', 'comand')).toBe('8:3')
  expect(at(MANIFEST, 'processes', 'web', 'comand', 2)).toBe('9:5')
  expect(at(MANIFEST, 'processes', 'web', 'resources', 'memory')).toBe('10:11')
  expect(at(MANIFEST, 'processes', 'web', 'health', 'path')).toBe('11:27')
  expect(at(MANIFEST, 'processes', 'web', 'after')).toBe('16:1')
  expect(at(MANIFEST, 'processes', 'web', 'ports', 1, 'internal')).toBe('21:1')
  expect(at(MANIFEST, 'processes', 'odd name', 'scaling', 1, 'max')).toBe('24:3')
})

test('what is inside a string is no key', () => {
  expect(indexKeys(MANIFEST).has('["not","a","table"]')).toBe(false)
  expect(at(MANIFEST, 'not', 'a', 'table')).toBe('1:1')
})

test('a missing key is reported at the table it belongs in', () => {
  expect(at(MANIFEST, 'processes', 'web', 'ports', 0, 'host')).toBe('17:17')
  expect(at(MANIFEST, 'processes', 'web', 'nothing', 'here')).toBe('7:12')
})

const Key = fc.oneof(fc.stringMatching(/^[A-Za-z0-9_-]{1,6}$/), fc.constantFrom('a b', 'x.y', 'é', '#'))
const Value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.array(fc.oneof(fc.string(), fc.integer()), { maxLength: 3 }),
    fc.array(fc.dictionary(Key, tie('value'), { maxKeys: 3 }), { maxLength: 3 }),
    fc.dictionary(Key, tie('value'), { maxKeys: 4 }),
  ),
})).value

const keysOf = (value: unknown, path: (string | number)[] = []): (string | number)[][] => {
  if (Array.isArray(value)) return value.flatMap((inner, index) => keysOf(inner, [...path, index]))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => [[...path, key], ...keysOf(inner, [...path, key])])
}

test('in any document each key is found at a place that begins with its name', () => {
  fc.assert(
    fc.property(fc.dictionary(Key, Value, { maxKeys: 5 }), (document) => {
      const text = stringify(document)
      const lines = text.split('\n')
      const index = indexKeys(text)
      for (const path of keysOf(parse(text))) {
        const key = String(path.at(-1))
        const { line, column } = locate(text, path)
        const rest = [...(lines[line - 1] ?? '')].slice(column - 1).join('')
        expect(index.has(JSON.stringify(path.map(String))), `${path.join('/')} is in no index of\n${text}`).toBe(true)
        if (typeof path.at(-1) === 'string')
          expect(
            rest.startsWith(key) || rest.startsWith(JSON.stringify(key)) || rest.startsWith(`'${key}'`),
            `${path.join('/')} at ${line}:${column} of\n${text}`,
          ).toBe(true)
      }
    }),
    { numRuns: 300 },
  )
})

test('no text, however broken, makes the locator stand still', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '=', '"', "'", ',', '.', '#', '\n', ' ', 'a', '\\', '1'), maxLength: 60 }),
      (text) => {
        indexKeys(text)
      },
    ),
    { numRuns: 3000 },
  )
})
