// Label selectors: comma = and; `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`.
// `k!=v` and `k notin (…)` also match an instance that has no label k.
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from './errors.ts'
import { LABEL_KEY, LABEL_VALUE } from './labels.ts'

export type SelectorTerm =
  | { readonly op: 'in'; readonly key: string; readonly values: readonly string[] }
  | { readonly op: 'notin'; readonly key: string; readonly values: readonly string[] }
  | { readonly op: 'exists'; readonly key: string }
  | { readonly op: 'absent'; readonly key: string }

/** All terms must hold; the empty selector matches everything. */
export type Selector = readonly SelectorTerm[]

export const SELECTOR_TERMS_MAX = 16
export const SELECTOR_VALUES_MAX = 64

class Cursor {
  at = 0
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  skip(): void {
    while (this.text[this.at] === ' ') this.at += 1
  }
  take(pattern: RegExp): string | undefined {
    this.skip()
    const sticky = new RegExp(pattern.source, 'y')
    sticky.lastIndex = this.at
    const found = sticky.exec(this.text)?.[0]
    if (found !== undefined) this.at += found.length
    return found
  }
}

/** Parses a selector; a failure carries `position` (0-based offset into the text). */
export function parseSelector(text: string): Result<Selector, Failure> {
  const cursor = new Cursor(text)
  const terms: SelectorTerm[] = []
  const bad = (what: string, position = cursor.at) =>
    err(failure('invalid_selector', `At position ${position}: ${what}.`, { field: 'selector', position }))
  cursor.skip()
  if (cursor.at === text.length) return ok([])
  for (;;) {
    const start = cursor.at
    const term = parseTerm(cursor)
    if (typeof term === 'string') return bad(term)
    if (!LABEL_KEY.test(term.key)) return bad(`"${term.key}" is not a label key`, start)
    if ('values' in term) {
      const wrong = term.values.find((value) => !LABEL_VALUE.test(value))
      if (wrong !== undefined) return bad(`"${wrong}" is not a label value`, start)
      if (term.values.length > SELECTOR_VALUES_MAX) return bad(`at most ${SELECTOR_VALUES_MAX} values`, start)
    }
    terms.push(term)
    if (terms.length > SELECTOR_TERMS_MAX) return bad(`at most ${SELECTOR_TERMS_MAX} terms`, start)
    cursor.skip()
    if (cursor.at === text.length) return ok(terms)
    if (cursor.take(/,/) === undefined) return bad(`expected a comma, found "${text[cursor.at]}"`)
    cursor.skip()
  }
}

function parseTerm(cursor: Cursor): SelectorTerm | string {
  const not = cursor.take(/!/)
  const key = cursor.take(/[A-Za-z0-9._/-]+/)
  if (key === undefined) return 'expected a label key'
  if (not !== undefined) return { op: 'absent', key }
  const equals = cursor.take(/==|!=|=/)
  if (equals !== undefined) {
    const value = cursor.take(/[A-Za-z0-9._-]*/) ?? ''
    return { op: equals === '!=' ? 'notin' : 'in', key, values: [value] }
  }
  const word = cursor.take(/(?:notin|in)(?= *\()/)
  if (word === undefined) return { op: 'exists', key }
  cursor.take(/\(/)
  const values: string[] = []
  for (;;) {
    values.push(cursor.take(/[A-Za-z0-9._-]*/) ?? '')
    const next = cursor.take(/[,)]/)
    if (next === ')') return { op: word === 'in' ? 'in' : 'notin', key, values }
    if (next === undefined) return 'expected a comma or a closing parenthesis'
  }
}

/** The same meaning as the database query; used where there is no database. */
export function matches(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every((term) => holds(term, Object.hasOwn(labels, term.key) ? labels[term.key] : undefined))
}

function holds(term: SelectorTerm, value: string | undefined): boolean {
  switch (term.op) {
    case 'in':
      return value !== undefined && term.values.includes(value)
    case 'notin':
      return value === undefined || !term.values.includes(value)
    case 'exists':
      return value !== undefined
    case 'absent':
      return value === undefined
  }
}
