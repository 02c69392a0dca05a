// Each tidy check on faults planted in memory: a check that cannot go red protects nothing.
import { describe, expect, test } from 'vitest'
import { importFaults, type Layers, tableFaults } from './support/layers.ts'
import { readSource } from './support/source.ts'
import * as tidy from './support/tidy.ts'
import { readText } from './support/tree.ts'

const table = JSON.parse(readText('layers.json')) as Layers
const sources = (files: Readonly<Record<string, string>>) => Object.entries(files).map(([path, text]) => readSource(path, text))
const arrows = (from: string, statement: string) => importFaults(sources({ [from]: statement }), table)

describe('imports', () => {
  test.each([
    ['a decision imports the store', 'src/control/reconcile/a.ts', `import { b } from '../store/b.ts'`],
    ['upwards', 'src/base/a.ts', `import type { B } from '../contracts/b.ts'`],
    ['one process imports another one', 'src/control/main.ts', `import { b } from '../agent/limits.ts'`],
    ['control uses the client', 'src/control/loops/a.ts', `import { b } from '../../client/client.ts'`],
    ['one driver imports another one', 'src/agent/drivers/docker/a.ts', `import { b } from '../process/b.ts'`],
    ['effects import each other', 'src/agent/probes/a.ts', `import { b } from '../journal/b.ts'`],
    ['a part takes its limits by itself', 'src/agent/loop/a.ts', `import { LIMITS } from '../limits.ts'`],
    ['a lazy import is an import', 'src/control/scheduler/a.ts', `const b = await import('../store/b.ts')`],
    ['the command line starts a process outside of cli/run', 'src/cli/verbs/a.ts', `await import('../../control/main.ts')`],
    ['a process is started by a static import', 'src/cli/run/up.ts', `import { b } from '../../control/main.ts'`],
    ['a part of a process is used by the command line', 'src/cli/run/up.ts', `await import('../../control/store/db.ts')`],
    ['the product imports the test kit', 'src/base/a.ts', `import { b } from '../../tests/support/wait.ts'`],
    ['the product imports a test', 'src/base/a.ts', `import { b } from './b.test.ts'`],
    ['a folder without a row', 'src/base/a.ts', `import { b } from '../mystery/b.ts'`],
    ['from a folder without a row', 'src/mystery/a.ts', `import { b } from '../base/b.ts'`],
  ])('%s', (_, from, statement) => {
    expect(arrows(from, statement)).toHaveLength(1)
  })

  test.each([
    ['a shell imports a decision', 'src/control/loops/a.ts', `import { b } from '../reconcile/b.ts'`],
    ['main imports all of its own', 'src/agent/main.ts', `import { b } from './drivers/docker/b.ts'`],
    ['main imports telemetry', 'src/agent/main.ts', `import { b } from '../telemetry/meter.ts'`],
    ['a driver imports the driver interface', 'src/agent/drivers/docker/a.ts', `import { b } from '../driver.ts'`],
    ['cli/run starts a process', 'src/cli/run/up.ts', `await import('../../control/main.ts')`],
    ['a test imports what it likes', 'src/control/reconcile/a.test.ts', `import { b } from '../store/b.ts'`],
    ['packages are not layers', 'src/control/store/a.ts', `import pg from 'pg'`],
  ])('allowed: %s', (_, from, statement) => {
    expect(arrows(from, statement)).toEqual([])
  })

  test('a cycle in the table, and a row that does not exist', () => {
    const cyclic = { layers: { a: ['b'], b: ['c'], c: ['a'] }, lazy: {}, decisions: [] }
    expect(tableFaults(cyclic)).toContain('cycle: a -> b -> c -> a')
    expect(tableFaults({ layers: { a: ['gone'] }, lazy: { a: ['lost'] }, decisions: ['never'] })).toEqual([
      'no row is called gone',
      'no row is called lost',
      'no row is called never',
    ])
  })

  test('an import of something computed, and require', () => {
    expect(tidy.hiddenImports(sources({ 'src/cli/a.ts': 'await import(name)\nrequire("./b.ts")' }))).toHaveLength(2)
  })
})

describe('decisions', () => {
  test.each([
    'const a = await b()',
    'export async function a() {}',
    'const a = new Date(b)',
    'const a = Math.random()',
    'setTimeout(a, 1)',
    'const a = process.pid',
    `console.log('a')`,
    `deps.a; log.info('a')`,
    `import { readFileSync } from 'node:fs'`,
    `fetch('a')`,
  ])('impure: %s', (line) => {
    expect(tidy.impureDecisions(sources({ 'src/agent/reconcile/a.ts': line }), table)).toHaveLength(1)
    expect(tidy.impureDecisions(sources({ 'src/agent/loop/a.ts': line }), table)).toEqual([])
  })
  test('what is only written about is pure', () => {
    const text = `// never await a Date\nconst because = 'process.env, console.log'\nconst updatedMs = facts.process.startedMs`
    expect(tidy.impureDecisions(sources({ 'src/control/rollout/a.ts': text }), table)).toEqual([])
  })
})

describe('injection', () => {
  test.each([
    'Date.now()',
    'new Date()',
    'new Date ( )',
    'new Date',
    'Date()',
    'setTimeout(a, 1)',
    `import { setTimeout as sleep } from 'node:timers/promises'`,
    'globalThis.setInterval(a, 1)',
    'setImmediate(a)',
    'AbortSignal.timeout(5)',
    'Math.random()',
    'crypto.randomUUID()',
    'randomBytes(4)',
    'performance.now()',
    'process.hrtime.bigint()',
  ])('not injected: %s', (line) => {
    expect(tidy.uninjected(sources({ 'src/agent/loop/a.ts': line })).length).toBeGreaterThan(0)
    expect(tidy.uninjected(sources({ 'src/base/system.ts': line, 'src/agent/loop/a.test.ts': line }))).toEqual([])
  })
  test.each(['new Date(ms)', 'new Date(\n  ms,\n)', 'socket.setTimeout(5)', 'clearTimeout(a)', 'let at: Date'])('allowed: %s', (line) => {
    expect(tidy.uninjected(sources({ 'src/agent/loop/a.ts': line }))).toEqual([])
  })
  test.each(['process.env.A', `process['env']`, `import { env } from 'node:process'`, 'const { env } = process'])(
    'environment: %s',
    (line) => {
      expect(tidy.environmentOutsideMain(sources({ 'src/agent/loop/a.ts': line }))).toHaveLength(1)
      expect(tidy.environmentOutsideMain(sources({ 'src/agent/main.ts': line }))).toEqual([])
    },
  )
})

describe('shape', () => {
  test.each([
    `export { a } from './a.ts'`,
    `export * from './a.ts'`,
    `import { a } from './a.ts'\nexport { a }`,
    `import type { A } from './a.ts'\nexport type { A }`,
  ])('barrel: %s', (text) => {
    expect(tidy.barrels(sources({ 'src/base/b.ts': text }))).toHaveLength(1)
  })
  test('a file of 401 lines, a function of 71', () => {
    expect(tidy.tooLong(sources({ 'src/base/a.ts': 'a\n'.repeat(400) }))).toEqual([])
    expect(tidy.tooLong(sources({ 'src/base/a.ts': 'a\n'.repeat(401) }))).toHaveLength(1)
    const long = (lines: number) => `function a(): void {\n${'  b()\n'.repeat(lines - 2)}}\n`
    expect(tidy.tooLong(sources({ 'src/base/a.ts': long(70), 'src/base/a.test.ts': long(71) }))).toEqual([])
    expect(tidy.tooLong(sources({ 'src/base/a.ts': long(71) }))).toHaveLength(1)
  })
  test('the same of Perl', () => {
    const of = (text: string) => tidy.tooLong([{ path: 'src/base/a.pl', text, code: text }])
    const long = (lines: number) => `sub a {\n${'  b();\n'.repeat(lines - 2)}}\n`
    expect([of('1;\n'.repeat(400)), of(long(70) + long(70))]).toEqual([[], []])
    expect(of('1;\n'.repeat(401))).toEqual(['src/base/a.pl: 401 lines, 400 is the wall'])
    expect(of(`1;\n${long(71)}`)).toEqual(['src/base/a.pl:2: a function of 71 lines, 70 fit a screen'])
  })
  test.each(['A.nullable().parse(b)', 'z.array(A).max(5).safeParse(b)', `z.enum(['a', 'b']).parse(c)`])('schema: %s', (text) => {
    expect(tidy.schemasPerUse(sources({ 'src/base/a.ts': text }))).toHaveLength(1)
  })
  test.each(['const B = A.nullable()', 'A.parse(b)', 'JSON.parse(String(data))', 'Date.parse(b)', 'a.max(b) + JSON.parse(c)'])(
    'no schema for one use: %s',
    (text) => {
      expect(tidy.schemasPerUse(sources({ 'src/base/a.ts': text }))).toEqual([])
    },
  )
  test.each([
    `// ${'FIX'}ME later`,
    `// ${'TO'}DO later`,
    `// @ts-${'ignore'}`,
    'const a = b as any',
    'export enum A {}',
    'const enum A {}',
    'declare namespace A {}',
    `test.only('a', b)`,
    `describe.skip('a', b)`,
    `test.skipIf(a)('b', c)`,
  ])('mark: %s', (text) => {
    expect(tidy.marks(sources({ 'src/base/a.ts': text }))).toHaveLength(1)
  })
  test.each([`// ${'TO'}DO(#12) later`, `const text = 'b as any'`, 'const enumerate = 1', 'ctx.skip(reason)'])('no mark: %s', (text) => {
    expect(tidy.marks(sources({ 'src/base/a.ts': text }))).toEqual([])
  })
  test.each([
    'src/base/camelCase.ts',
    'src/base/utils.ts',
    'src/base/task-manager.ts',
    'src/common/a.ts',
    'src/Base/a.ts',
    'src/a/b/c/d/e.ts',
  ])('name: %s', (path) => {
    expect(tidy.names(sources({ [path]: '' }))).toHaveLength(1)
  })
  test.each(['src/agent/drivers/docker/create.real.test.ts', 'src/control/store/migrations/0001-first.ts', 'tests/support/wait.ts'])(
    'good name: %s',
    (path) => {
      expect(tidy.names(sources({ [path]: '' }))).toEqual([])
    },
  )
})
