// holdfast.toml from the command line: read, checked here with line and column (the server checks the same again), and made independent
// of the directory the command was typed in: a process without a working directory of its own runs in the manifest's.
import { statSync } from 'node:fs'
import path from 'node:path'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import { Manifest } from '../contracts/manifest.ts'
import { type CompiledManifest, readManifest } from '../contracts/manifest-compile.ts'
import { explainIssues } from './toml/explain.ts'
import { readToml } from './toml/read.ts'

export const MANIFEST_FILE_NAME = 'holdfast.toml'

export interface LoadedManifest {
  /** As typed. */
  readonly name: string
  /** What is sent: the parsed file, with working directories filled in. */
  readonly data: Readonly<Record<string, unknown>>
  readonly compiled: CompiledManifest
}

export async function loadManifest(cwd: string, given: string | undefined, env: string): Promise<Result<LoadedManifest, Failure>> {
  const name = given ?? MANIFEST_FILE_NAME
  const inDirectory = statSync(path.resolve(cwd, name), { throwIfNoEntry: false })?.isDirectory() ?? false
  const shown = inDirectory ? path.join(name, MANIFEST_FILE_NAME) : name
  const file = path.resolve(cwd, shown)
  const read = await readToml(shown, file, 'invalid_manifest')
  if (!read.ok) return read
  if (read.value === undefined) return err(failure('invalid_manifest', `There is no ${shown} in ${cwd}.`, { file: shown }))
  const checked = readManifest(read.value.data, env)
  if (!checked.ok) return err(explainIssues('invalid_manifest', read.value, checked.error, Manifest))
  const data = withWorkdirs(read.value.data, path.dirname(file))
  const compiled = readManifest(data, env)
  if (!compiled.ok) return err(explainIssues('invalid_manifest', read.value, compiled.error, Manifest))
  return ok({ name: shown, data, compiled: compiled.value })
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A container has a file system of its own, so only the process runtime gets a directory of this machine. */
function withWorkdirs(data: Readonly<Record<string, unknown>>, directory: string): Readonly<Record<string, unknown>> {
  const { env, processes } = data
  if (!isTable(processes) || (isTable(env) && env.workdir !== undefined)) return data
  const filled = Object.entries(processes).map(([name, process]) => {
    const mine = isTable(process) && process.workdir === undefined && (process.runtime ?? 'process') === 'process'
    return [name, mine ? { ...process, workdir: directory } : process]
  })
  return { ...data, processes: Object.fromEntries(filled) }
}
