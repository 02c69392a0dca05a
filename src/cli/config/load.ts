// The configuration of `up`, `server` and `agent`: defaults, then holdfast.config.toml, then HOLDFAST_* from the environment, then flags.
// Bad configuration stops the start and every bad key is named where the user wrote it: file, line and column; variable; or flag.
import path from 'node:path'
import { err, ok, type Result } from '../../base/result.ts'
import { CONFIG_FILE_NAME, ConfigFile, compileConfig, type HoldfastConfig } from '../../contracts/config.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { flatten } from '../../contracts/manifest.ts'
import { explainIssues, type Issue } from '../toml/explain.ts'
import { type LeafKind, leaves } from '../toml/known-keys.ts'
import { readToml, type TomlFile } from '../toml/read.ts'

export interface ConfigSources {
  readonly cwd: string
  readonly dataDir: string
  /** From `--config`; it must exist. */
  readonly file: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  /** Values given by flags, by path: `{ 'server.listen': '127.0.0.1:0' }`, each with the words to blame. */
  readonly flags: Readonly<Record<string, { readonly value: string | undefined; readonly words: string }>>
}

export interface LoadedConfig {
  readonly config: HoldfastConfig
  /** The file that was read. */
  readonly file: string | null
}

/** Shorter names for the keys people set most. */
const SHORT: Readonly<Record<string, string>> = { 'server.listen': 'HOLDFAST_LISTEN' }

/** The variable of a key: `reliability.recovery.mode` is HOLDFAST_RELIABILITY_RECOVERY_MODE. */
export const envNameOf = (dotted: string): string => SHORT[dotted] ?? `HOLDFAST_${dotted.replaceAll('.', '_').toUpperCase()}`

export async function loadConfig(sources: ConfigSources): Promise<Result<LoadedConfig, Failure>> {
  const read = await readConfigFile(sources)
  if (!read.ok) return read
  const file = read.value
  const data: Record<string, unknown> = structuredClone({ ...file?.data })
  const givenBy = new Map<string, string>()
  for (const { path: at, kind } of leaves(ConfigFile)) {
    const dotted = at.join('.')
    const fromEnv = sources.env[envNameOf(dotted)]
    if (fromEnv) overlay(data, at, coerce(fromEnv, kind), envNameOf(dotted), givenBy)
    const fromFlag = sources.flags[dotted]
    if (fromFlag?.value !== undefined) overlay(data, at, coerce(fromFlag.value, kind), fromFlag.words, givenBy)
  }
  const parsed = ConfigFile.safeParse(data)
  if (parsed.success) return ok({ config: compileConfig(parsed.data), file: file?.name ?? null })
  return err(explain(flatten(parsed.error.issues), file, givenBy))
}

async function readConfigFile(sources: ConfigSources): Promise<Result<TomlFile | undefined, Failure>> {
  const named = sources.file ?? (sources.env.HOLDFAST_CONFIG || undefined)
  if (named !== undefined) {
    const read = await readToml(named, path.resolve(sources.cwd, named), 'invalid_config')
    if (read.ok && read.value === undefined)
      return err(failure('invalid_config', `The configuration file ${named} does not exist.`, { file: named }))
    return read
  }
  for (const dir of [sources.dataDir, sources.cwd]) {
    const file = path.join(dir, CONFIG_FILE_NAME)
    const read = await readToml(path.relative(sources.cwd, file) || file, file, 'invalid_config')
    if (!read.ok || read.value !== undefined) return read
  }
  return ok(undefined)
}

function explain(issues: readonly Issue[], file: TomlFile | undefined, givenBy: ReadonlyMap<string, string>): Failure {
  const inFile = issues.filter((issue) => sourceOf(issue, givenBy) === undefined)
  const others = issues.flatMap((issue) => {
    const source = sourceOf(issue, givenBy)
    return source === undefined ? [] : [`${source}: ${issue.message}`]
  })
  const fields = { keys: issues.map((issue) => issue.path.join('.')) }
  if (file === undefined || inFile.length === 0)
    return failure('invalid_config', others.join('\n') || 'The configuration is not valid.', fields)
  const explained = explainIssues('invalid_config', file, inFile, ConfigFile)
  return failure('invalid_config', [explained.detail, ...others].join('\n'), { ...explained.fields, ...fields })
}

/** The variable or flag that gave the value at or above the issue's path; undefined when the file did. */
function sourceOf(issue: Issue, givenBy: ReadonlyMap<string, string>): string | undefined {
  for (let length = issue.path.length; length > 0; length -= 1) {
    const source = givenBy.get(issue.path.slice(0, length).join('.'))
    if (source !== undefined) return source
  }
  return undefined
}

function overlay(data: Record<string, unknown>, at: readonly string[], value: unknown, source: string, givenBy: Map<string, string>): void {
  let table = data
  for (const key of at.slice(0, -1)) {
    const inner = table[key]
    // The file has something else in place of this table: the schema will say so, with the line.
    if (inner !== undefined && (typeof inner !== 'object' || inner === null || Array.isArray(inner))) return
    const next: Record<string, unknown> = { ...inner }
    table[key] = next
    table = next
  }
  table[at.at(-1) ?? ''] = value
  givenBy.set(at.join('.'), source)
}

/** Text of a variable as the schema's kind of value; what does not convert stays text, and the schema says what it wants. */
function coerce(text: string, kind: LeafKind): unknown {
  switch (kind) {
    case 'number':
      return /^-?[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : text
    case 'boolean':
      return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : text
    case 'map': {
      const pairs = text.split(',').map((pair) => /^([^=]+)=(.*)$/.exec(pair.trim()))
      return pairs.every((pair) => pair !== null) ? Object.fromEntries(pairs.map((pair) => [pair?.[1], pair?.[2]])) : text
    }
    case 'text':
      return text
  }
}
