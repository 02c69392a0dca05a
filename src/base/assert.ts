/** For our own mistakes only: a false condition is a bug in Holdfast, never a user's error. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`bug in holdfast: ${message}`)
}
