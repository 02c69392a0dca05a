// Reading typed values out of a YAML tree for `user_data`: every complaint carries its line, and keys that are not known are collected.
import { parseSshPublicKey } from './ssh-key.ts'
import type { Tree, TreeMap } from './yaml-tree.ts'

/** Caught by `parseUserData`, which makes it a typed failure. */
export class Wrong extends Error {
  readonly line: number
  constructor(line: number, what: string) {
    super(what)
    this.line = line
  }
}

const UNSUPPORTED_MAX = 64
const TRUE = new Set(['true', 'yes', 'on', '1'])
const FALSE = new Set(['false', 'no', 'off', '0', '', '~', 'null'])

const isNull = (tree: Tree | undefined): boolean =>
  tree === undefined || (tree.kind === 'text' && tree.plain && !tree.bytes && ['', '~', 'null'].includes(tree.text))

export class Reading {
  readonly #unsupported = new Set<string>()

  note(what: string): void {
    if (this.#unsupported.size < UNSUPPORTED_MAX) this.#unsupported.add(what.length > 80 ? `${what.slice(0, 80)}…` : what)
  }

  unsupported(): string[] {
    return [...this.#unsupported]
  }

  /** Notes each key of `map` that is not in `keys`; those in `ignorable` only when they have another value than what holds anyway. */
  known(map: TreeMap, where: string, keys: readonly string[], ignorable: Readonly<Record<string, boolean>> = {}): void {
    for (const [key, value] of map.entries) {
      if (keys.includes(key)) continue
      const path = where === '' ? key : `${where}.${key}`
      if (Object.hasOwn(ignorable, key) && this.flag(value, path) === ignorable[key]) continue
      this.note(path)
    }
  }

  text(tree: Tree, where: string): string {
    if (tree.kind !== 'text' || tree.bytes) throw new Wrong(tree.line, `${where} must be text`)
    if (isNull(tree)) throw new Wrong(tree.line, `${where} is empty`)
    return tree.text
  }

  optionalText(tree: Tree | undefined, where: string): string | null {
    return tree === undefined || isNull(tree) ? null : this.text(tree, where)
  }

  path(tree: Tree, where: string): string {
    const path = this.text(tree, where)
    // The engine's archive call resolves `..` against the root itself, but a reader should see at launch what is meant.
    if (!path.startsWith('/') || path.length > 4096 || path.endsWith('/') || path.split('/').some((part) => part === '..' || part === '.'))
      throw new Wrong(tree.line, `${where} must be an absolute path without . and .. parts`)
    if (/\p{Cc}/u.test(path)) throw new Wrong(tree.line, `${where} holds control characters`)
    return path.replace(/\/+/g, '/')
  }

  optionalPath(tree: Tree | undefined, where: string): string | null {
    return tree === undefined || isNull(tree) ? null : this.path(tree, where)
  }

  flag(tree: Tree | undefined, where: string): boolean {
    if (tree === undefined) return false
    const word = tree.kind === 'text' && !tree.bytes ? tree.text.toLowerCase() : undefined
    if (word !== undefined && TRUE.has(word)) return true
    if (word !== undefined && FALSE.has(word)) return false
    throw new Wrong(tree.line, `${where} must be true or false`)
  }

  list(tree: Tree | undefined, where: string, itemsMax: number): readonly Tree[] {
    if (tree === undefined || isNull(tree)) return []
    if (tree.kind !== 'list') throw new Wrong(tree.line, `${where} must be a list`)
    if (tree.items.length > itemsMax) throw new Wrong(tree.line, `${where} has more than ${itemsMax} entries`)
    return tree.items
  }

  /** Public keys, one or a list, in canonical form. */
  keys(tree: Tree | undefined, where: string, keysMax: number): string[] {
    const items = tree?.kind === 'text' && !isNull(tree) ? [tree] : this.list(tree, where, keysMax)
    return items.map((item, index) => {
      const key = parseSshPublicKey(this.text(item, `${where}[${index}]`))
      if (!key.ok) throw new Wrong(item.line, `${where}[${index}]: ${key.error.detail.replace(/\.$/, '')}`)
      return key.value.line
    })
  }
}
