// Keys in groups: `next` goes round the groups, and within one in the order they came, so that a thousand keys of one group delay the
// first key of another by one turn. A key is in it at most once.

export interface FairQueue<Key, Group> {
  /** Again: no effect, it keeps its place. */
  add(key: Key, group: Group): void
  /** False when it was not in it. */
  remove(key: Key): boolean
  has(key: Key): boolean
  keys(): Iterable<Key>
  /** Takes the one whose turn it is. */
  next(): Key | undefined
  readonly size: number
}

export function fairQueue<Key, Group>(): FairQueue<Key, Group> {
  /** In the order of their next turn. */
  const groups = new Map<Group, Set<Key>>()
  const groupOf = new Map<Key, Group>()
  const remove = (key: Key): boolean => {
    const group = groupOf.get(key)
    if (group === undefined || !groupOf.delete(key)) return false
    const members = groups.get(group)
    members?.delete(key)
    if (members?.size === 0) groups.delete(group)
    return true
  }
  return {
    add(key, group) {
      if (groupOf.has(key)) return
      groupOf.set(key, group)
      const members = groups.get(group)
      if (members) members.add(key)
      else groups.set(group, new Set([key]))
    },
    remove,
    has: (key) => groupOf.has(key),
    keys: () => groupOf.keys(),
    next() {
      for (const [group, members] of groups) {
        for (const key of members) {
          remove(key)
          // Its group stands behind the others now.
          if (groups.delete(group)) groups.set(group, members)
          return key
        }
      }
      return undefined
    },
    get size() {
      return groupOf.size
    },
  }
}
