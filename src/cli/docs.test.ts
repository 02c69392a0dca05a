// The documents of the command line say what the code does.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'smol-toml'
import { expect, test } from 'vitest'
import { ConfigFile, compileConfig, DEFAULT_CONFIG } from '../contracts/config.ts'
import { ERRORS } from '../contracts/errors.ts'
import { VERBS } from './catalog.ts'
import { loadManifest } from './manifest.ts'
import { leaves } from './toml/known-keys.ts'

const read = (name: string) => readFileSync(path.join(import.meta.dirname, '../../', name), 'utf8')

test('docs/cli.md has every verb and every flag', () => {
  const text = read('docs/cli.md')
  const missing = VERBS.flatMap((verb) => {
    const flags = Object.values(verb.flags).flatMap((flag) => flag.words.match(/--[a-z-]+/g) ?? [])
    return [verb.name, ...flags].filter((word) => !text.includes(word)).map((word) => `${verb.name}: ${word}`)
  })
  expect(missing).toEqual([])
})

test('the sample of docs/configuration.md is every key with its default', () => {
  const sample = /```toml\n([\s\S]*?)```/.exec(read('docs/configuration.md'))?.[1] ?? ''
  const data = parse(sample)
  expect(compileConfig(ConfigFile.parse(data))).toEqual(DEFAULT_CONFIG)
  const has = (at: readonly string[]) =>
    at.reduce<unknown>((table, key) => (typeof table === 'object' && table !== null ? Reflect.get(table, key) : undefined), data) !==
    undefined
  const absent = leaves(ConfigFile)
    .filter((leaf) => !has(leaf.path))
    .map((leaf) => leaf.path.join('.'))
  // Both are derived from the machine unless they are given.
  expect(absent).toEqual(['node.id', 'reliability.recovery.max_concurrent'])
})

test('the example is a valid manifest, and runs where its file lies', async () => {
  const root = path.resolve(import.meta.dirname, '../..')
  const manifest = await loadManifest(root, 'examples/hello.toml', 'prod')
  expect(
    manifest.ok && manifest.value.compiled.processes.map(({ name, replicas, spec }) => ({ name, replicas, workingDir: spec.workingDir })),
  ).toEqual([{ name: 'web', replicas: 2, workingDir: path.join(root, 'examples') }])
})

test('every verb that an error sends people to exists', () => {
  const known = new Set(VERBS.map((verb) => verb.name.split(' ')[0]))
  const bad = Object.entries(ERRORS).flatMap(([code, row]) =>
    [...row.next.matchAll(/\bholdfast ([a-z]+)/g)].filter((found) => !known.has(found[1])).map((found) => `${code}: ${found[0]}`),
  )
  expect(bad).toEqual([])
})
