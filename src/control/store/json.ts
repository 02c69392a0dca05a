// Values on their way into jsonb columns.

/**
 * JSON that jsonb accepts: it refuses U+0000 and lone surrogates, which the output of a workload may well contain; they become
 * U+FFFD. Absent (undefined) members are left out, as in JSON.stringify.
 */
export function json(value: object): string {
  const text = JSON.stringify(value)
  // Most values have neither; the walk is only made when the text may hold one of the two escapes.
  return SUSPECT.test(text) ? JSON.stringify(clean(value)) : text
}

/** The value as it comes back out of a jsonb column, for a store that has none. */
export function storable<T extends object>(value: T): T {
  // The parse edge of our own writing: cleaning changes no shape.
  return SUSPECT.test(JSON.stringify(value)) ? (clean(value) as T) : value
}

const SUSPECT = /\\u0000|\\ud[89a-f]/i

function clean(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('\0', '\ufffd').toWellFormed()
  if (Array.isArray(value)) return value.map(clean)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [String(clean(key)), clean(item)]))
  return value
}
