import { readdirSync, readFileSync } from 'node:fs'
import { join, normalize } from 'node:path'
import { readSource, type Source } from './source.ts'

export const ROOT = join(import.meta.dirname, '../..')

/** Paths of the project's own files, relative to its root, without what is generated or installed. */
export function filesBelow(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1))
    .sort()
}

/** The same for one folder without those below it. */
export function filesOf(folder: string): readonly string[] {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => normalize(join(folder, entry.name)))
}

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

export function sourcesOf(folders: readonly string[]): readonly Source[] {
  return filesOfKind(folders, /\.(ts|tsx|js)$/).map((path) => readSource(path, readText(path)))
}

/** Their `code` is their text: nothing here reads Perl. */
export function perlOf(folders: readonly string[]): readonly Source[] {
  return filesOfKind(folders, /\.p[lm]$/).map((path) => ({ path, text: readText(path), code: readText(path) }))
}

function filesOfKind(folders: readonly string[], kind: RegExp): readonly string[] {
  const present = readdirSync(ROOT)
  return folders
    .filter((folder) => present.includes(folder))
    .flatMap(filesBelow)
    .filter((path) => kind.test(path))
}
