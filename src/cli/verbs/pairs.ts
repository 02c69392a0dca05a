// `K=V`, `K-` and their like, as typed on the command line.
import { err, ok, type Result } from '../../base/result.ts'

/** `K=V` pairs; the value may hold further equal signs and may be empty. The last one of a key wins. */
export function readPairs(words: readonly string[]): Result<Record<string, string>, string> {
  const map: Record<string, string> = {}
  for (const word of words) {
    const at = word.indexOf('=')
    if (at <= 0) return err(`${JSON.stringify(word)} is not KEY=VALUE`)
    map[word.slice(0, at)] = word.slice(at + 1)
  }
  return ok(map)
}

/** `K=V` sets, `K-` removes. */
export function readChanges(words: readonly string[]): Result<Record<string, string | null>, string> {
  const changes: Record<string, string | null> = {}
  for (const word of words) {
    const at = word.indexOf('=')
    if (at > 0) changes[word.slice(0, at)] = word.slice(at + 1)
    else if (at < 0 && word.length > 1 && word.endsWith('-')) changes[word.slice(0, -1)] = null
    else return err(`${JSON.stringify(word)} is neither KEY=VALUE nor KEY-`)
  }
  return ok(changes)
}
