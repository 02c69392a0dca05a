// Each behaviour and each defect of the reference has a row in docs/behaviours.md, and the row tells the truth.
import { describe, expect, test } from 'vitest'
import { behaviourProblems, NUMBERS, numbersIn } from './support/behaviours.ts'
import { filesBelow, readText } from './support/tree.ts'

const PAGE = 'docs/behaviours.md'
/** Not this file: its texts are about numbers. */
const tests = [...filesBelow('src'), ...filesBelow('tests')].filter(
  (path) => /\.test\.ts$|\/conformance[a-z-]*\.ts$/.test(path) && path !== 'tests/behaviours.test.ts',
)

test('no behaviour and no defect of the reference is missing: each has its test, or the requirement that wins over it', () => {
  expect(behaviourProblems(readText(PAGE), new Map(tests.map((path) => [path, readText(path)])))).toEqual([])
})

describe('behaviours: the checker', () => {
  const FILE = 'src/a.test.ts'
  const rows = new Map(NUMBERS.map((number) => [number, `| ${number} | something that holds | Not here: HEAL-1 wins |`]))
  const problems = (change: Readonly<Record<string, string>>, text = '') =>
    behaviourProblems([...new Map([...rows, ...Object.entries(change)]).values()].join('\n'), new Map([[FILE, text]]))
  const held = (number: string) => `| ${number} | something that holds | [a](../${FILE}) |`

  test('a page in order has no problem', () => {
    expect(problems({})).toEqual([])
    expect(problems({ T05: held('T05'), B3: '| B3 | a defect of old | T05 |' }, "test('T05, C7: x')")).toEqual([
      `${FILE} has a test of C7, its row does not name it`,
    ])
  })
  test.each<[string, Readonly<Record<string, string>>, string, string]>([
    ['a missing row', { C77: '' }, '', 'C77 has 0 rows'],
    ['a row twice', { C77: `${held('C76')}\n${held('C77')}` }, "test('C76, C77: x')", 'C76 has 2 rows'],
    ['a file without the test', { T05: held('T05') }, "test('T06: x')", `${FILE} has no test of T05`],
    ['a title that only mentions it', { T05: held('T05') }, "test('unlike T05: x')", `${FILE} has no test of T05`],
    ['a test that no row names', {}, "test('T05: x')", `${FILE} has a test of T05, its row does not name it`],
    ['a title without its colon', {}, "test.each([1])('T05 x')", `${FILE}: a title begins with T05 and no colon`],
    ['a number that there is not', {}, "test('T46: x')", `${FILE} has a test of T46, its row does not name it`],
    ['a reason without an authority', { T05: '| T05 | something that holds | Not here: no need |' }, '', 'T05 does not say which'],
    ['neither', { T05: '| T05 | something that holds | later |' }, '', 'T05 names neither'],
    ['no words', { T05: '| T05 | | Not here: HEAL-1 wins |' }, '', 'T05 does not say what it is'],
    ['a defect held by what has no test', { B3: '| B3 | a defect of old | T05 |' }, '', 'B3 is said to be held by T05, which has no test'],
    ['a behaviour held by another one', { T06: '| T06 | something that holds | T05 |' }, '', 'T06 names neither'],
  ])('sees %s', (_name, change, text, problem) => {
    expect(problems(change, text).join('\n')).toContain(problem)
  })
  test('titles in quotes of any kind, with several numbers', () => {
    expect([...numbersIn("'T05, C7: a' \"B3: b\" `T28: ${x}` 'T1: no' 'C07: no'")]).toEqual(['T05', 'C7', 'B3', 'T28'])
  })
})
