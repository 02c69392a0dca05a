// The house rules that a machine can check. Each rule takes sources and returns findings as `path:line: what`; none reads a file.
import { posix } from 'node:path'
import { isTest, type Layers, layerOf } from './layers.ts'
import { type FunctionSpan, functionsOf, importsOf, lineAt, linesMatching, type Source } from './source.ts'

const FILE_LINES_MAX = 400
const FUNCTION_LINES_MAX = 70
const FOLDERS_MAX = 4

type Rule = (sources: readonly Source[]) => readonly string[]

const at = (source: Source, line: number, what: string) => `${source.path}:${line}: ${what}`
const product = (sources: readonly Source[]) => sources.filter(({ path }) => path.startsWith('src/') && !isTest(path))

function findings(sources: readonly Source[], patterns: readonly (readonly [RegExp, string])[]): readonly string[] {
  return sources.flatMap((source) =>
    patterns.flatMap(([pattern, what]) => linesMatching(source, pattern).map((line) => at(source, line, what))),
  )
}

/** A decision sees facts and the time as arguments, and returns data. */
export function impureDecisions(sources: readonly Source[], table: Layers): readonly string[] {
  const decisions = product(sources).filter(({ path }) => table.decisions.includes(layerOf(path, table) ?? ''))
  const external = decisions.flatMap((source) =>
    importsOf(source)
      .filter(({ specifier }) => specifier.startsWith('node:'))
      .map(({ specifier, line }) => at(source, line, `a decision imports ${specifier}`)),
  )
  return external.concat(
    findings(decisions, [
      [/\b(await|async)\b/, 'a decision waits'],
      [/\bDate\b|\bperformance\s*\./, 'a decision reads a clock'],
      [/\bMath\s*\.\s*random\b|\bcrypto\s*\./, 'a decision draws at random'],
      [/(?<![.\w$])set(Timeout|Interval|Immediate)\b/, 'a decision sets a timer'],
      // Only Node's own members: a variable may well be called process here.
      [
        /(?<![.\w$])process\s*\.\s*(env|argv|pid|ppid|cwd|exit|exitCode|kill|on|once|emit|hrtime|uptime|memoryUsage|cpuUsage|nextTick|std\w+)\b/,
        'a decision looks at the process',
      ],
      [/(?<![.\w$])(console|log|logger)\s*[.(]/, 'a decision logs'],
      [/(?<![.\w$])fetch\s*\(/, 'a decision calls out'],
    ]),
  )
}

/** Making a schema costs more than reading a value with it, and leaves garbage: it is done once, at the top of a file. */
export const schemasPerUse: Rule = (sources) =>
  findings(product(sources), [
    [
      /(\bz\.[a-z]+|\.(nullable|nullish|optional|array|omit|pick|extend|partial|max|min))\([^()\n]*\)\.(p|safeP)arse\(/i,
      'a schema made for one use',
    ],
  ])

/** Clocks, timers and randomness come from base/system.ts and are handed in. `new Date(x)` only converts. */
export const uninjected: Rule = (sources) =>
  findings(
    product(sources).filter(({ path }) => path !== 'src/base/system.ts'),
    [
      [/\bDate\s*\.\s*now\b/, 'Date.now outside of base/system.ts'],
      [/\bnew\s+Date\b(?!\s*\(\s*[^\s)])/, 'the current date outside of base/system.ts'],
      [/(?<![.\w$]|new\s)\bDate\s*\(/, 'the current date outside of base/system.ts'],
      [/(?<![.\w$])set(Timeout|Interval|Immediate)\b/, 'a timer outside of base/system.ts'],
      [/\b(globalThis|timers|timersPromises)\s*\.\s*set(Timeout|Interval|Immediate)\b/, 'a timer outside of base/system.ts'],
      [/\bAbortSignal\s*\.\s*timeout\b/, 'a timer outside of base/system.ts'],
      [/\bMath\s*\.\s*random\b|\brandom(UUID|Bytes|Int)\b|\bgetRandomValues\b/, 'randomness outside of base/system.ts'],
      [/\bperformance\s*\.\s*now\b|\bhrtime\b/, 'a clock outside of base/system.ts'],
    ],
  )

export const environmentOutsideMain: Rule = (sources) =>
  findings(
    product(sources).filter(({ path }) => posix.basename(path) !== 'main.ts'),
    [[/\bprocess\s*\.\s*env\b|\bprocess\s*\[|\{[^}]*\benv\b[^}]*\}\s*(from\b|=\s*process\b)/, 'the environment is read in main.ts only']],
  )

/** Every reader finds a thing where it is made: no file passes on what another one exports. */
export const barrels: Rule = (sources) =>
  sources.flatMap((source) => {
    const imports = importsOf(source)
    const reexports = imports.filter(({ kind }) => kind === 'export').map(({ line }) => at(source, line, 'a re-export'))
    const imported = new Set(
      [...source.code.matchAll(/\bimport\b([\s\w$*{},]*?)\bfrom\b/g)].flatMap((found) => (found[1] ?? '').match(/[\w$]+/g) ?? []),
    )
    const lists = [...source.code.matchAll(/\bexport\s*(?:type\s*)?\{([^}]*)\}(?!\s*from)/g)]
    const passedOn = lists.flatMap((found) =>
      (found[1] ?? '')
        .split(',')
        .map(
          (entry) =>
            entry
              .replace(/\btype\b/, '')
              .trim()
              .split(/\s+/)[0] ?? '',
        )
        .filter((name) => name !== '' && imported.has(name))
        .map((name) => at(source, lineAt(source.code, found.index), `${name} is imported only to be exported`)),
    )
    return [...reexports, ...passedOn]
  })

export const tooLong: Rule = (sources) =>
  sources.flatMap((source) => {
    const lines = source.text.replace(/\n$/, '').split('\n').length
    const file = lines > FILE_LINES_MAX ? [`${source.path}: ${lines} lines, ${FILE_LINES_MAX} is the wall`] : []
    // A describe() callback is a chapter, not a function.
    const functions =
      isTest(source.path) && !source.path.startsWith('tests/support/')
        ? []
        : (/\.p[lm]$/.test(source.path) ? perlFunctionsOf : functionsOf)(source)
    return file.concat(
      functions
        .filter((span) => span.lines > FUNCTION_LINES_MAX)
        .map((span) => at(source, span.line, `a function of ${span.lines} lines, ${FUNCTION_LINES_MAX} fit a screen`)),
    )
  })

/** From each `sub` at the beginning of a line to the brace that stands alone below it. */
function perlFunctionsOf({ text }: Source): readonly FunctionSpan[] {
  return [...text.matchAll(/^sub \w+ \{\n[\s\S]*?^\}$/gm)].map((found) => ({
    line: lineAt(text, found.index),
    lines: found[0].split('\n').length,
  }))
}

/** Marks and escapes. The words are put together here, because this file is checked as well. */
export const marks: Rule = (sources) => {
  const inText: readonly (readonly [RegExp, string])[] = [
    [new RegExp(`\\b${'FIX'}${'ME'}\\b`), `${'FIX'}ME cannot merge`],
    [new RegExp(`\\b${'TO'}${'DO'}\\b(?!\\(#\\d+\\)| #\\d+)`), `${'TO'}DO without an issue: write ${'TO'}DO(#12)`],
    [new RegExp(`@ts-${'ignore'}\\b|@ts-${'nocheck'}\\b`), 'the compiler is silenced'],
  ]
  const inCode: readonly (readonly [RegExp, string])[] = [
    [/\bas\s+any\b/, 'any by the back door'],
    [/^[ \t]*(export\s+)?(declare\s+)?(const\s+)?enum\s+[\w$]+\s*\{/m, 'enum: use a union'],
    [/^[ \t]*(export\s+)?(declare\s+)?namespace\s+[\w$.]+\s*\{/m, 'namespace: use a file'],
    [/(?<![\w$.])(test|it|describe|suite)\s*\.\s*only\b/, 'only: the other tests do not run'],
    [
      /(?<![\w$.])(test|it|describe|suite)\s*\.\s*(skip|skipIf|runIf|todo)\b/,
      'a skip without a reason: use describeNeeds or ctx.skip(reason)',
    ],
  ]
  return findings(sources, inCode).concat(
    findings(
      sources.map((source) => ({ ...source, code: source.text })),
      inText,
    ),
  )
}

const EMPTY_NAMES = new Set(['util', 'utils', 'helpers', 'common', 'manager', 'managers', 'service', 'services', 'misc', 'index'])

export const names: Rule = (sources) =>
  sources.flatMap(({ path }) => {
    const folders = posix.dirname(path).split('/')
    const file = posix.basename(path)
    const stem = file.split('.')[0] ?? ''
    const faults: string[] = []
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|real|config|d))*\.(ts|tsx|js)$/.test(file)) faults.push(`${path}: file names are kebab-case`)
    if (folders.some((folder) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(folder) && folder !== '.'))
      faults.push(`${path}: folder names are kebab-case`)
    if (folders.length > FOLDERS_MAX) faults.push(`${path}: more than ${FOLDERS_MAX} folders below the root`)
    const empty = [...folders, stem].find((name) => EMPTY_NAMES.has(name) || EMPTY_NAMES.has(name.split('-').at(-1) ?? ''))
    if (empty !== undefined && path.startsWith('src/')) faults.push(`${path}: "${empty}" does not say what is in it`)
    return faults
  })

/** A lazy import of something computed escapes the arrows. */
export const hiddenImports: Rule = (sources) =>
  findings(product(sources), [
    [/\bimport\s*\(\s*(?!['"])/, 'import() of something computed'],
    [/(?<![.\w$])require\s*\(/, 'require() escapes the arrows'],
  ])
