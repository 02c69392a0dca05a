import { posix } from 'node:path'
import { importsOf, type Source } from './source.ts'

/**
 * `layers.json`: who may import whom. `lazy` adds, for the files below one folder, what they may import as `import('…')` only: they
 * start a process, they do not use a part of it.
 */
export interface Layers {
  readonly layers: Readonly<Record<string, readonly string[]>>
  readonly lazy: Readonly<Record<string, readonly string[]>>
  readonly decisions: readonly string[]
}

/** Tests stand above every layer: a test beside the code, and the suite that every driver must pass. */
export function isTest(path: string): boolean {
  return /\.test\.ts$|(^|\/)conformance(-[a-z]+)?\.ts$/.test(path) || path.startsWith('tests/')
}

/** The row a file of src/ belongs to: the longest of its own path and its folders that the table names. `x/*` stands for each folder in x. */
export function layerOf(path: string, table: Layers): string | undefined {
  const stem = path.replace(/^src\//, '').replace(/\.ts$/, '')
  for (let at = stem; at !== '.'; at = posix.dirname(at)) {
    if (Object.hasOwn(table.layers, at)) return at
    if (at !== stem && Object.hasOwn(table.layers, `${posix.dirname(at)}/*`)) return at
  }
  return undefined
}

export function importFaults(sources: readonly Source[], table: Layers): readonly string[] {
  return sources
    .filter(({ path }) => path.startsWith('src/') && !isTest(path))
    .flatMap((source) =>
      importsOf(source)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .flatMap(({ specifier, kind, line }) => {
          const to = posix.join(posix.dirname(source.path), specifier)
          const fault = arrowFault(source.path, to, kind === 'lazy', table)
          return fault === undefined ? [] : [`${source.path}:${line}: ${fault}`]
        }),
    )
}

function arrowFault(from: string, to: string, lazy: boolean, table: Layers): string | undefined {
  if (to === 'package.json') return undefined
  if (!to.startsWith('src/') || isTest(to)) return `imports ${to}: nothing in src/ imports tests, tools or bench`
  const [here, there] = [layerOf(from, table), layerOf(to, table)]
  if (here === undefined) return 'its folder has no row in layers.json'
  if (there === undefined) return `imports ${to}, whose folder has no row in layers.json`
  if (here === there || allows(rowOf(here, table), there)) return undefined
  const starts = Object.entries(table.lazy).some(([folder, row]) => from.startsWith(`src/${folder}/`) && row.includes(there))
  if (!starts) return `${here} may not import ${there} (${to})`
  return lazy ? undefined : `${there} may be imported only as import('…')`
}

function rowOf(layer: string, { layers }: Layers): readonly string[] {
  return layers[layer] ?? layers[`${posix.dirname(layer)}/*`] ?? []
}

function allows(row: readonly string[], layer: string): boolean {
  return row.some((entry) => entry === layer || (entry.endsWith('/*') && layer.startsWith(entry.slice(0, -1))))
}

/** Faults of the table itself: names that no row has, and cycles. */
export function tableFaults(table: Layers): readonly string[] {
  const names = Object.keys(table.layers)
  const below = (entry: string) => names.filter((name) => name.startsWith(entry.slice(0, -1)))
  const exists = (entry: string) => names.includes(entry) || (entry.endsWith('/*') && below(entry).length > 0)
  const mentioned = [...Object.values(table.layers), ...Object.values(table.lazy), table.decisions].flat()
  const unknown = [...new Set(mentioned)].filter((entry) => !exists(entry)).map((entry) => `no row is called ${entry}`)
  const targets = (name: string) =>
    (table.layers[name] ?? []).flatMap((entry) => (entry.endsWith('/*') ? below(entry).filter((other) => other !== name) : [entry]))
  const cycles = names.flatMap((name) => {
    const cycle = cycleFrom(name, [], targets)
    return cycle === undefined ? [] : [`cycle: ${cycle.join(' -> ')}`]
  })
  return [...unknown, ...cycles]
}

function cycleFrom(name: string, path: readonly string[], targets: (name: string) => readonly string[]): readonly string[] | undefined {
  if (path[0] === name) return [...path, name]
  if (path.includes(name)) return undefined
  for (const next of targets(name)) {
    const cycle = cycleFrom(next, [...path, name], targets)
    if (cycle !== undefined) return cycle
  }
  return undefined
}
