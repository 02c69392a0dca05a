// Issues of a schema as lines a person can act on: `holdfast.toml:12:3: processes.web.comand: unknown key (did you mean command?)`.
import type { z } from 'zod'
import { type ErrorCode, type Failure, failure } from '../../contracts/errors.ts'
import { knownKeys } from './known-keys.ts'
import { locate, type TomlPath } from './locate.ts'
import { nearest } from './nearest.ts'
import type { TomlFile } from './read.ts'

export interface Issue {
  readonly path: TomlPath
  readonly message: string
}

export const UNKNOWN_KEY = 'unknown key'
const LINES_MAX = 10

/** One failure that names every issue, in the order of the text. */
export function explainIssues(code: ErrorCode, file: TomlFile, issues: readonly Issue[], schema: z.ZodType): Failure {
  const lines = issues
    .map((issue) => ({ issue, place: locate(file.text, issue.path) }))
    .sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column)
    .map(({ issue, place }) => {
      const what = issue.message === UNKNOWN_KEY ? unknownKey(issue.path, schema) : issue.message
      const name = issue.path.length === 0 ? '' : `${dotted(issue.path)}: `
      return { text: `${file.name}:${place.line}:${place.column}: ${name}${what}`, place }
    })
  const first = lines[0]?.place ?? { line: 1, column: 1 }
  const more = lines.length > LINES_MAX ? [`… and ${lines.length - LINES_MAX} more`] : []
  const texts = [...lines.slice(0, LINES_MAX).map((line) => line.text), ...more]
  return failure(code, texts.join('\n'), { file: file.name, line: first.line, column: first.column, issues: texts })
}

function unknownKey(path: TomlPath, schema: z.ZodType): string {
  const guess = nearest(String(path.at(-1) ?? ''), knownKeys(schema, path.slice(0, -1)))
  return guess === undefined ? UNKNOWN_KEY : `${UNKNOWN_KEY} (did you mean ${guess}?)`
}

/** `processes.web.ports.0.internal`; a key that is not a bare word is quoted. */
const dotted = (path: TomlPath): string =>
  path.map((part) => (/^[A-Za-z0-9_-]+$/.test(String(part)) ? String(part) : JSON.stringify(part))).join('.')
