// The house rules, checked on every run. Each finding is `path:line: what`; tests/tidy-red.test.ts proves that each check can fail.
import { describe, expect, test } from 'vitest'
import { importFaults, type Layers, tableFaults } from './support/layers.ts'
import {
  barrels,
  environmentOutsideMain,
  hiddenImports,
  impureDecisions,
  marks,
  names,
  schemasPerUse,
  tooLong,
  uninjected,
} from './support/tidy.ts'
import { perlOf, readText, sourcesOf } from './support/tree.ts'

const table = JSON.parse(readText('layers.json')) as Layers
const folders = ['src', 'tests', 'tools', 'bench', 'bin']
const sources = sourcesOf(folders)
const perl = perlOf(folders)

describe('tidy', () => {
  test('there is something to check', () => {
    expect(sources.filter(({ path }) => path.startsWith('src/')).length).toBeGreaterThan(50)
    expect(perl).not.toEqual([])
  })
  test('the import table names only its own rows and has no cycle', () => {
    expect(tableFaults(table)).toEqual([])
  })
  test('imports follow the arrows', () => {
    expect(importFaults(sources, table)).toEqual([])
  })
  test('no import hides what it imports', () => {
    expect(hiddenImports(sources)).toEqual([])
  })
  test('no file re-exports another one', () => {
    expect(barrels(sources)).toEqual([])
  })
  test('decisions are pure', () => {
    expect(impureDecisions(sources, table)).toEqual([])
  })
  test('clocks, timers and randomness come from base/system.ts', () => {
    expect(uninjected(sources)).toEqual([])
  })
  test('schemas are made once, not for each value', () => {
    expect(schemasPerUse(sources)).toEqual([])
  })
  test('the environment is read in main.ts only', () => {
    expect(environmentOutsideMain(sources)).toEqual([])
  })
  test('files fit 400 lines and functions a screen', () => {
    expect(tooLong([...sources, ...perl])).toEqual([])
  })
  test('no mark of unfinished work, no escape from the compiler, no silent skip', () => {
    expect(marks(sources)).toEqual([])
  })
  test('files and folders are named for what is in them', () => {
    expect(names(sources)).toEqual([])
  })
})
