// A TOML file as text and as data; a syntax error becomes a failure with file, line and column.
import { readFile } from 'node:fs/promises'
import { parse, TomlError } from 'smol-toml'
import { err, ok, type Result } from '../../base/result.ts'
import { type ErrorCode, type Failure, failure } from '../../contracts/errors.ts'

export interface TomlFile {
  /** As the user named it, for messages. */
  readonly name: string
  readonly text: string
  readonly data: Readonly<Record<string, unknown>>
}

const BYTES_MAX = 1_048_576

/** Undefined when there is no such file. `code` is what a bad file is called: a manifest or a configuration. */
export async function readToml(name: string, file: string, code: ErrorCode): Promise<Result<TomlFile | undefined, Failure>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const cause = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (cause === 'ENOENT' || cause === 'ENOTDIR') return ok(undefined)
    const why = cause === 'EISDIR' ? 'is a directory; name the file in it' : `cannot be read (${cause})`
    return err(failure(code, `${name} ${why}.`, { file: name }, error))
  }
  if (Buffer.byteLength(text) > BYTES_MAX) return err(failure(code, `${name} is larger than 1 MiB.`, { file: name }))
  return parseToml(name, text, code)
}

export function parseToml(name: string, text: string, code: ErrorCode): Result<TomlFile, Failure> {
  try {
    return ok({ name, text, data: parse(text.replace(/^\uFEFF/, '')) })
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // The first line of its message says what; the rest draws the place, which line and column say better.
    const what = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '')
    const fields = { file: name, line: error.line, column: error.column }
    return err(failure(code, `${name}:${error.line}:${error.column}: ${what}`, fields, error))
  }
}
