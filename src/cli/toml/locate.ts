// Where in a TOML text each key stands, so that a message about `processes.web.comand` can say line and column. The parser proper is
// smol-toml; this only walks a text that it has already accepted (or rejected with a position of its own), so it may trust the grammar
// and needs no errors: whatever it does not understand it skips.

export interface Place {
  /** Both count from 1; columns in characters. */
  readonly line: number
  readonly column: number
}

export type TomlPath = readonly (string | number)[]

/** The place of the key at `path`, or of the nearest thing around it that is written in the text. */
export function locate(text: string, path: TomlPath): Place {
  const keys = indexKeys(text)
  for (let length = path.length; length > 0; length -= 1) {
    const at = keys.get(pathKey(path.slice(0, length)))
    if (at !== undefined) return placeOf(text, at)
  }
  return { line: 1, column: 1 }
}

const pathKey = (path: TomlPath): string => JSON.stringify(path.map(String))

function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset)
  const lineStart = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: [...text.slice(lineStart, offset)].length + 1 }
}

/** Offsets of all keys, array elements included, by path. The first mention wins, which for a table is where it is opened. */
export function indexKeys(text: string): ReadonlyMap<string, number> {
  const walker = new Walker(text)
  walker.document()
  return walker.found
}

class Walker {
  readonly found = new Map<string, number>()
  readonly #text: string
  /** How many elements each array of tables has so far. */
  readonly #counts = new Map<string, number>()
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  document(): void {
    let table: TomlPath = []
    for (this.#space(true); this.#at < this.#text.length; this.#space(true)) {
      const before = this.#at
      if (this.#peek('[')) table = this.#header()
      else this.#pair(table)
      // A character that begins nothing: leave it rather than stand still.
      if (this.#at === before) this.#at += 1
    }
  }

  /** `[a.b]` or `[[a.b]]`; leads to the path of the table that the following keys belong to. */
  #header(): TomlPath {
    const list = this.#text.startsWith('[[', this.#at)
    this.#at += list ? 2 : 1
    const parts = this.#key()
    const path: (string | number)[] = []
    for (const [index, part] of parts.entries()) {
      path.push(part.name)
      this.#mark(path, part.at)
      const last = index === parts.length - 1
      const count = this.#counts.get(pathKey(path))
      if (last && list) {
        this.#counts.set(pathKey(path), (count ?? 0) + 1)
        path.push(count ?? 0)
        this.#mark(path, part.at)
      } else if (count !== undefined) path.push(count - 1)
    }
    this.#lineEnd()
    return path
  }

  #pair(base: TomlPath): void {
    const path = [...base]
    for (const part of this.#key()) {
      path.push(part.name)
      this.#mark(path, part.at)
    }
    this.#space(false)
    if (this.#peek('=')) {
      this.#at += 1
      this.#space(false)
      this.#value(path)
    } else this.#lineEnd()
  }

  #value(path: TomlPath): void {
    const start = this.#text[this.#at]
    if (start === '"' || start === "'") this.#string()
    else if (start === '[') this.#array(path)
    else if (start === '{') this.#inlineTable(path)
    else while (this.#at < this.#text.length && !',]}#\n'.includes(this.#text[this.#at] ?? '')) this.#at += 1
  }

  #array(path: TomlPath): void {
    this.#at += 1
    for (let index = 0; ; index += 1) {
      this.#space(true)
      if (this.#at >= this.#text.length) return
      if (this.#peek(']')) break
      const before = this.#at
      this.#mark([...path, index], this.#at)
      this.#value([...path, index])
      this.#space(true)
      if (this.#peek(',')) this.#at += 1
      if (this.#at === before) return
    }
    this.#at += 1
  }

  #inlineTable(path: TomlPath): void {
    this.#at += 1
    for (;;) {
      this.#space(true)
      if (this.#at >= this.#text.length || this.#peek('}')) break
      const before = this.#at
      this.#pair(path)
      this.#space(true)
      if (this.#peek(',')) this.#at += 1
      if (this.#at === before) return
    }
    this.#at += 1
  }

  /** A dotted key: its parts, each with where it begins. */
  #key(): readonly { readonly name: string; readonly at: number }[] {
    const parts: { name: string; at: number }[] = []
    for (;;) {
      this.#space(false)
      const at = this.#at
      const start = this.#text[at]
      if (start === '"' || start === "'") parts.push({ name: this.#string(), at })
      else {
        while (/[A-Za-z0-9_-]/.test(this.#text[this.#at] ?? '')) this.#at += 1
        if (this.#at === at) return parts
        parts.push({ name: this.#text.slice(at, this.#at), at })
      }
      this.#space(false)
      if (!this.#peek('.')) return parts
      this.#at += 1
    }
  }

  /** Any of the four kinds of string; leads to its content, escapes left as they are except in the simplest keys. */
  #string(): string {
    const quote = this.#text[this.#at] ?? ''
    const fence = this.#text.startsWith(quote.repeat(3), this.#at) ? quote.repeat(3) : quote
    this.#at += fence.length
    const start = this.#at
    while (this.#at < this.#text.length && !this.#text.startsWith(fence, this.#at)) this.#at += quote === '"' && this.#peek('\\') ? 2 : 1
    // A multi-line string may end in up to two quotes of its own before the fence.
    while (fence.length === 3 && this.#text[this.#at + 3] === quote) this.#at += 1
    const content = this.#text.slice(start, this.#at)
    this.#at += fence.length
    return content
  }

  /** Spaces and tabs; with `lines` also line ends and comments. */
  #space(lines: boolean): void {
    for (; this.#at < this.#text.length; this.#at += 1) {
      const char = this.#text[this.#at]
      if (char === ' ' || char === '\t') continue
      if (!lines) return
      if (char === '#') while (this.#at < this.#text.length && this.#text[this.#at] !== '\n') this.#at += 1
      else if (char !== '\n' && char !== '\r') return
    }
  }

  #lineEnd(): void {
    while (this.#at < this.#text.length && this.#text[this.#at] !== '\n') this.#at += 1
  }

  #peek(char: string): boolean {
    return this.#text[this.#at] === char
  }

  #mark(path: TomlPath, at: number): void {
    const key = pathKey(path)
    if (!this.found.has(key)) this.found.set(key, at)
  }
}
