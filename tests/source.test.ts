// The scanner behind the tidy rules: what it must not mistake for code, and what it must not miss.
import { describe, expect, test } from 'vitest'
import { functionsOf, importsOf, readSource } from './support/source.ts'

const codeOf = (text: string) => readSource('x.ts', text).code
const spans = (text: string) => functionsOf(readSource('x.ts', text)).map(({ line, lines }) => `${line}+${lines}`)
const imports = (text: string) => importsOf(readSource('x.ts', text)).map(({ kind, specifier }) => `${kind} ${specifier}`)

describe('blanking', () => {
  test.each([
    ['line comment', 'a // b\nc', 'a     \nc'],
    ['block comment keeps its lines', 'a /* b\n b */ c', 'a     \n      c'],
    ['strings keep their quotes', `f('x', "y")`, `f(' ', " ")`],
    ['an escaped quote ends nothing', `f('a\\'b') + c`, `f('    ') + c`],
    ['a comment sign in a string', `f('//') + c`, `f('  ') + c`],
    ['a quote in a comment', `a // it's\nb`, 'a        \nb'],
    ['template: text blanked, code kept', 'f(`a ${b} c ${d}`)', 'f(`  ${b}   ${d}`)'],
    ['template: braces inside of the code', 'f(`${ {a: {}} } x`)', 'f(`${ {a: {}} }  `)'],
    ['template inside of a template', 'f(`a ${g(`b ${c}`)} d`)', 'f(`  ${g(`  ${c}`)}  `)'],
    ['a brace after a template is code', 'f(`a`); if (x) { y }', 'f(` `); if (x) { y }'],
    ['regular expression', `f(/['"{]/g, a)`, 'f(        , a)'],
    ['a slash in a class ends nothing', 'return /[/}]/.test(a)', 'return       .test(a)'],
    ['division', 'a / b / c', 'a / b / c'],
    ['division after a bracket', '(a) / b / c', '(a) / b / c'],
    ['division after a non-null assertion', 'a! / b / c', 'a! / b / c'],
    ['a regular expression after a negation', '!/}/.test(a)', '!   .test(a)'],
    ['a first line for the shell', '#!/usr/bin/env node\na', '                   \na'],
    ['an unfinished string ends with its line', `a 'b\nc`, `a '\u0020\nc`],
    ['characters beyond the first plane keep their width', `f('😀') + c`, `f('  ') + c`],
  ])('%s', (_, text, code) => {
    expect(codeOf(text)).toBe(code)
    expect(codeOf(text)).toHaveLength(text.length)
  })
})

describe('imports', () => {
  test.each([
    [`import { a } from './a.ts'`, ['import ./a.ts']],
    [`import type { A } from './a.ts'`, ['import ./a.ts']],
    [`import a, {\n  b,\n  type C as D,\n} from "./a.ts"`, ['import ./a.ts']],
    [`import * as a from './a.ts'`, ['import ./a.ts']],
    [`import './a.ts'`, ['import ./a.ts']],
    [`const { a } = await import('./a.ts')`, ['lazy ./a.ts']],
    [`type A = import('./a.ts').A`, ['lazy ./a.ts']],
    [`export { a } from './a.ts'`, ['export ./a.ts']],
    [`export * from './a.ts'`, ['export ./a.ts']],
    [`export type { A } from './a.ts'`, ['export ./a.ts']],
    [`// import { a } from './a.ts'`, []],
    [`const text = "import a from './a.ts'"`, []],
    [`export const a = 1\nconst b = Array.from('x')`, []],
    [`import { a } from './a.ts'\nimport { b } from './b.ts'`, ['import ./a.ts', 'import ./b.ts']],
  ])('%j', (text, expected) => {
    expect(imports(text)).toEqual(expected)
  })
})

describe('functions', () => {
  test.each([
    ['declaration', 'function a() {\n\n}', ['1+3']],
    ['arrow', 'const a = () => {\n}', ['1+2']],
    ['return type with an object type', 'function a(): { b: string } {\n}', ['1+2']],
    ['return type of several parts', 'async function a(): Promise<Map<string, { b: 1 }>> {\n}', ['1+2']],
    ['union of object types over several lines', 'function a():\n  | { b: 1 }\n  | { c: 2 } {\n}', ['1+4']],
    ['type predicate', 'function a(b: unknown): b is { c: 1 } {\n}', ['1+2']],
    ['literal return type', `function a(): 'b' | "c" {\n}`, ['1+2']],
    ['method, getter and constructor', 'class A {\n  constructor() {\n  }\n  b(): C[] {\n  }\n  get d() {\n  }\n}', ['2+2', '4+2', '6+2']],
    ['a parameter with a default object', 'function a(b = { c: 1 }) {\n}', ['1+2']],
    ['generic', 'function a<T extends { b: 1 }>(c: T): T {\n}', ['1+2']],
    ['control flow is none', 'if (a) {\n}\nfor (;;) {\n}\nwhile (a) {\n}\nswitch (a) {\n}', []],
    ['a call is none', 'a(b)\n{\n}', ['1+3']],
    ['a call in a ternary is none', 'const a = b ? c(d) : { e: 1 }', []],
    ['nested: both', 'function a() {\n  const b = () => {\n  }\n}', ['1+4', '2+2']],
    ['braces in strings do not count', `function a() {\n  b('{')\n}`, ['1+3']],
  ])('%s', (_, text, expected) => {
    expect([...spans(text)].sort()).toEqual(expected)
  })
})
