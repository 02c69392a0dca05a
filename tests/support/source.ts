// Reads TypeScript just well enough to check rules about its shape: TypeScript 7 has no API to ask. `code` is the text with every
// comment, and the inside of every string and regular expression, blanked; offsets and lines stay those of the text.

export interface Source {
  readonly path: string
  readonly text: string
  readonly code: string
}

export interface Import {
  readonly specifier: string
  readonly kind: 'import' | 'export' | 'lazy'
  readonly line: number
}

export interface FunctionSpan {
  readonly line: number
  readonly lines: number
}

export function readSource(path: string, text: string): Source {
  return { path, text, code: blank(text) }
}

export function lineAt(text: string, offset: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) line++
  return line
}

/** Every match of the pattern in the code, by line. */
export function linesMatching(source: Source, pattern: RegExp): readonly number[] {
  return [...source.code.matchAll(new RegExp(pattern.source, `${pattern.flags.replace('g', '')}g`))].map((found) =>
    lineAt(source.code, found.index),
  )
}

// --- blanking ---

const QUOTES = `'"\``

function blank(text: string): string {
  const out = [...text].length === text.length ? text.split('') : Array.from({ length: text.length }, (_, at) => text.charAt(at))
  const erase = (from: number, to: number) => {
    for (let at = from; at < Math.min(to, out.length); at++) if (out[at] !== '\n') out[at] = ' '
  }
  // One entry per template literal we are inside of: how many braces are open in its current `${ }`.
  const templates: number[] = []
  let at = text.startsWith('#!') ? endOfLine(text, 0) : 0
  erase(0, at)
  while (at < text.length) {
    const end = literalEnd(text, at, templates)
    if (end === undefined) {
      at++
      continue
    }
    const quoted = QUOTES.includes(text.charAt(at)) || text.charAt(at) === '}' ? 1 : 0
    erase(at + quoted, end.closed ? end.to - end.closed : end.to)
    at = end.to
  }
  return out.join('')
}

interface LiteralEnd {
  readonly to: number
  /** How many characters at the end are kept: the closing quote, or the `${` that opens code again. */
  readonly closed: number
}

function literalEnd(text: string, at: number, templates: number[]): LiteralEnd | undefined {
  const two = text.slice(at, at + 2)
  const one = text.charAt(at)
  if (two === '//') return { to: endOfLine(text, at), closed: 0 }
  if (two === '/*') return { to: indexAfter(text, '*/', at + 2), closed: 0 }
  if (one === '/' && startsRegex(text, at)) return { to: regexEnd(text, at), closed: 0 }
  if (one === "'" || one === '"') return { to: stringEnd(text, at, one), closed: 1 }
  if (one === '`') return templateEnd(text, at + 1, templates)
  const depth = templates.at(-1)
  if (depth === undefined) return undefined
  if (one === '{') templates[templates.length - 1] = depth + 1
  if (one !== '}') return undefined
  if (depth > 0) {
    templates[templates.length - 1] = depth - 1
    return undefined
  }
  templates.pop()
  return templateEnd(text, at + 1, templates)
}

function templateEnd(text: string, from: number, templates: number[]): LiteralEnd {
  for (let at = from; at < text.length; at++) {
    if (text.charAt(at) === '\\') at++
    else if (text.charAt(at) === '`') return { to: at + 1, closed: 1 }
    else if (text.startsWith('${', at)) {
      templates.push(0)
      return { to: at + 2, closed: 2 }
    }
  }
  return { to: text.length, closed: 0 }
}

function stringEnd(text: string, at: number, quote: string): number {
  for (let next = at + 1; next < text.length; next++) {
    if (text.charAt(next) === '\\') next++
    else if (text.charAt(next) === quote || text.charAt(next) === '\n') return next + 1
  }
  return text.length
}

function regexEnd(text: string, at: number): number {
  let inClass = false
  for (let next = at + 1; next < text.length; next++) {
    const one = text.charAt(next)
    if (one === '\\') next++
    else if (one === '[') inClass = true
    else if (one === ']') inClass = false
    else if (one === '\n') return next
    else if (one === '/' && !inClass) return next + 1 + (/^[a-z]*/.exec(text.slice(next + 1))?.[0].length ?? 0)
  }
  return text.length
}

/** A slash divides after a value and opens a regular expression elsewhere. */
function startsRegex(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - 200), at).trimEnd()
  if (/[\w$)\]]!$/.test(before)) return false // a non-null assertion, not a negation
  const word = /[\w$]+$/.exec(before)?.[0]
  if (word !== undefined) return /^(return|typeof|case|in|of|await|yield|delete|void|instanceof|do|else|throw|new)$/.test(word)
  return !/[)\]]$/.test(before)
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at)
  return end === -1 ? text.length : end
}

function indexAfter(text: string, what: string, from: number): number {
  const found = text.indexOf(what, from)
  return found === -1 ? text.length : found + what.length
}

// --- imports ---

/** Static imports, re-exports and `import('…')`, types included. What a variable names cannot be seen, and is refused elsewhere. */
export function importsOf(source: Source): readonly Import[] {
  const found: Import[] = []
  const pattern = /\b(import|export)\b(?:[\s\w$*{},]|\btype\b)*?\bfrom\s*(['"])|\bimport\s*(['"])|\bimport\s*\(\s*(['"])/g
  for (const match of source.code.matchAll(pattern)) {
    const open = match.index + match[0].length
    const close = source.code.indexOf(source.code.charAt(open - 1), open)
    const kind = match[4] !== undefined ? 'lazy' : match[1] === 'export' ? 'export' : 'import'
    found.push({ kind, specifier: source.text.slice(open, close), line: lineAt(source.code, open) })
  }
  return found
}

// --- functions ---

const OPEN: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }
const CONTROL = /\b(if|for|while|switch|catch|with|await)\s*$/

/** Functions with a body in braces: declarations, methods and arrows. Nested ones are listed too, and count for the outer one. */
export function functionsOf({ code }: Source): readonly FunctionSpan[] {
  const spans: FunctionSpan[] = []
  const add = (from: number, body: number) => {
    const start = lineAt(code, from)
    spans.push({ line: start, lines: lineAt(code, closing(code, body)) - start + 1 })
  }
  for (const arrow of code.matchAll(/=>\s*\{/g)) add(arrow.index, arrow.index + arrow[0].length - 1)
  for (const params of code.matchAll(/[\w$\])>]\s*\(|\bfunction\s*\(/g)) {
    const open = params.index + params[0].length - 1
    if (CONTROL.test(code.slice(Math.max(0, open - 12), open))) continue
    const body = bodyAfter(code, closing(code, open) + 1)
    if (body !== undefined) add(params.index, body)
  }
  return spans
}

/** The brace that opens the body after a parameter list, past a return type; undefined when this was only a call. */
function bodyAfter(code: string, from: number): number | undefined {
  let at = skipSpace(code, from)
  if (code.charAt(at) === '{') return at
  if (code.charAt(at) !== ':') return undefined
  at++
  let operand = true // a brace where a type is expected opens an object type, not the body
  while (at < code.length) {
    at = skipSpace(code, at)
    const one = code.charAt(at)
    if (one === '{' && !operand) return at
    if (OPEN[one] !== undefined) {
      at = closing(code, at) + 1
      operand = false
    } else if (one === '|' || one === '&' || one === '<' || one === ',') {
      at++
      operand = true
    } else if (code.startsWith('=>', at)) {
      at += 2
      operand = true
    } else if (one === '>' || one === '.' || one === "'" || one === '"' || one === '?' || one === '`') {
      at = one === "'" || one === '"' || one === '`' ? code.indexOf(one, at + 1) + 1 : at + 1
      operand = one === '.' || one === '?'
    } else {
      const word = /^[\w$]+/.exec(code.slice(at, at + 100))?.[0]
      if (word === undefined) return undefined
      at += word.length
      operand = /^(is|keyof|readonly|typeof|extends|asserts|infer|unique)$/.test(word)
    }
  }
  return undefined
}

function skipSpace(code: string, from: number): number {
  let at = from
  while (/\s/.test(code.charAt(at))) at++
  return at
}

/** The bracket that closes the one at `open`; the end of the code when none does. */
function closing(code: string, open: number): number {
  const [opens, closes] = [code.charAt(open), OPEN[code.charAt(open)] ?? '']
  let depth = 0
  for (let at = open; at < code.length; at++) {
    if (code.charAt(at) === opens) depth++
    else if (code.charAt(at) === closes && --depth === 0) return at
  }
  return code.length
}
