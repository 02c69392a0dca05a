// YAML from strangers as a plain tree: text, lists and maps, each with its line. Nothing is converted, because what a scalar means
// depends on where it stands (`0644` is octal, `1.50` in an argument list is "1.50"). Bounded: no custom tags, few aliases, a budget
// of nodes that counts every use of an alias, so neither an alias bomb nor deep nesting costs more than the document's size.
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type ParsedNode, parseDocument, Scalar } from 'yaml'
import { err, ok, type Result } from '../base/result.ts'

export type Tree = TreeText | TreeList | TreeMap
export interface TreeText {
  readonly kind: 'text'
  readonly line: number
  /** As written, unquoted. */
  readonly text: string
  /** Written without quotes, so `true`, `~` and `0644` may be meant as such. */
  readonly plain: boolean
  /** Content of a `!!binary` scalar. */
  readonly bytes: Uint8Array | null
}
export interface TreeList {
  readonly kind: 'list'
  readonly line: number
  readonly items: readonly Tree[]
}
export interface TreeMap {
  readonly kind: 'map'
  readonly line: number
  readonly entries: ReadonlyMap<string, Tree>
}
export interface TreeError {
  readonly line: number
  readonly what: string
}

const NODES_MAX = 50_000
const DEPTH_MAX = 50
/** Resolving an alias walks the document, so their number is what bounds the work. */
const ALIASES_MAX = 100
const TAGS = new Set(['tag:yaml.org,2002:str', 'tag:yaml.org,2002:binary', 'tag:yaml.org,2002:map', 'tag:yaml.org,2002:seq', '!'])

class Refused extends Error {
  readonly line: number
  constructor(line: number, what: string) {
    super(what)
    this.line = line
  }
}

/** Null for an empty document. */
export function parseYamlTree(text: string): Result<Tree | null, TreeError> {
  const lines = new LineCounter()
  const deep = tooDeep(text)
  if (deep !== undefined) return err({ line: deep, what: `nested deeper than ${DEPTH_MAX} levels` })
  try {
    // Duplicate keys are looked for here, not by the parser: its own check takes quadratic time.
    const doc = parseDocument(text, { schema: 'failsafe', lineCounter: lines, prettyErrors: false, uniqueKeys: false, logLevel: 'silent' })
    const problem = doc.errors[0] ?? doc.warnings[0]
    if (problem)
      return err({ line: lines.linePos(problem.pos[0]).line, what: problem.message.split('\n')[0]?.slice(0, 200) ?? 'not valid YAML' })
    if (doc.contents === null) return ok(null)
    const tree = new Builder(doc, lines).build(doc.contents, 0)
    return ok(tree.kind === 'text' && tree.plain && tree.text === '' ? null : tree)
  } catch (error) {
    if (error instanceof Refused) return err({ line: error.line, what: error.message })
    // Nesting that slips past the count of brackets ends here as an exhausted stack.
    if (error instanceof RangeError) return err({ line: 1, what: 'nested too deeply' })
    throw error
  }
}

/** The line where brackets or `- - -` nest deeper than any honest document; the parser itself would recurse on them. */
function tooDeep(text: string): number | undefined {
  for (const [index, line] of text.split('\n').entries()) {
    const opens = line.match(/^[ ]*((?:[-?:] +)*)/)?.[1]?.replaceAll(' ', '').length ?? 0
    const indent = line.search(/[^ ]/)
    if (opens > DEPTH_MAX || indent > 20_000) return index + 1
  }
  let depth = 0
  let line = 1
  for (const letter of text) {
    if (letter === '\n') line++
    else if (letter === '[' || letter === '{') depth++
    else if (letter === ']' || letter === '}') depth = Math.max(0, depth - 1)
    // Brackets inside text count as well, hence the room: a shell script may hold some unbalanced ones.
    if (depth > 2000) return line
  }
  return undefined
}

class Builder {
  readonly #doc: Document.Parsed
  readonly #lines: LineCounter
  #nodes = 0
  #aliases = 0

  constructor(doc: Document.Parsed, lines: LineCounter) {
    this.#doc = doc
    this.#lines = lines
  }

  build(node: unknown, depth: number): Tree {
    const line = this.#line(node)
    if (++this.#nodes > NODES_MAX) throw new Refused(line, `more than ${NODES_MAX} values (aliases count each time)`)
    if (depth > DEPTH_MAX) throw new Refused(line, `nested deeper than ${DEPTH_MAX} levels`)
    if (isAlias(node)) {
      if (++this.#aliases > ALIASES_MAX) throw new Refused(line, `more than ${ALIASES_MAX} aliases`)
      const target = node.resolve(this.#doc)
      if (!target) throw new Refused(line, `unknown alias *${node.source}`)
      return this.build(target, depth + 1)
    }
    this.#refuseTag(node, line)
    if (isMap(node)) return { kind: 'map', line, entries: this.#entries(node.items, line, depth) }
    if (isSeq(node)) return { kind: 'list', line, items: node.items.map((item) => this.build(item, depth + 1)) }
    return this.#text(node, line)
  }

  #entries(pairs: readonly { readonly key: unknown; readonly value: unknown }[], line: number, depth: number): Map<string, Tree> {
    const entries = new Map<string, Tree>()
    for (const pair of pairs) {
      const key = this.build(pair.key, depth + 1)
      if (key.kind !== 'text' || key.bytes) throw new Refused(key.line, 'a key must be text')
      if (entries.has(key.text)) throw new Refused(key.line, `${JSON.stringify(key.text.slice(0, 64))} is given twice`)
      entries.set(
        key.text,
        pair.value === null ? { kind: 'text', line, text: '', plain: true, bytes: null } : this.build(pair.value, depth + 1),
      )
    }
    return entries
  }

  #text(node: unknown, line: number): TreeText {
    if (!isScalar(node)) return { kind: 'text', line, text: '', plain: true, bytes: null }
    const bytes = node.value instanceof Uint8Array ? node.value : null
    const text = bytes ? '' : typeof node.value === 'string' ? node.value : ''
    return { kind: 'text', line, text, plain: node.type === undefined || node.type === Scalar.PLAIN, bytes }
  }

  #refuseTag(node: unknown, line: number): void {
    const tag = isScalar(node) || isMap(node) || isSeq(node) ? node.tag : undefined
    if (tag !== undefined && !TAGS.has(tag)) throw new Refused(line, `the tag ${tag.slice(0, 64)} is not allowed`)
  }

  #line(node: unknown): number {
    const range = isAlias(node) || isScalar(node) || isMap(node) || isSeq(node) ? (node as ParsedNode).range : undefined
    return range ? this.#lines.linePos(range[0]).line : 1
  }
}
