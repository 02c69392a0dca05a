import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'

interface Patience {
  /** What is waited for, in words: the failure says it. */
  readonly what: string
  readonly deadlineMs: number
  readonly everyMs?: number
}

type Truthy<T> = Exclude<T, null | undefined | false | 0 | ''>
type Look =
  | { readonly kind: 'expired' }
  | { readonly kind: 'saw'; readonly value: unknown }
  | { readonly kind: 'threw'; readonly error: unknown }

/**
 * Looks until the condition returns something truthy, and returns that. A condition that throws is "not yet"; the last error is the
 * cause of the failure. A condition that never returns is cut off by the deadline too. Never wait for a time: wait for what you mean.
 */
export async function waitFor<T>(condition: () => T | Promise<T>, patience: Patience): Promise<Truthy<T>> {
  const { what, deadlineMs, everyMs = 20 } = patience
  const startMs = performance.now()
  const leftMs = () => deadlineMs - (performance.now() - startMs)
  let last: Look = { kind: 'expired' }
  do {
    const look = await lookOnce(condition, Math.max(leftMs(), 1))
    if (look.kind === 'saw' && look.value) return look.value as Truthy<T>
    // A look that hangs says less than the one before it.
    if (look.kind !== 'expired') last = look
    if (leftMs() > 0) await sleep(Math.min(everyMs, leftMs()))
  } while (leftMs() > 0)
  throw new Error(`not within ${deadlineMs} ms: ${what} (${describe(last)})`, last.kind === 'threw' ? { cause: last.error } : {})
}

async function lookOnce(condition: () => unknown, deadlineMs: number): Promise<Look> {
  const timer = new AbortController()
  const look = (async () => condition())().then(
    (value): Look => ({ kind: 'saw', value }),
    (error: unknown): Look => ({ kind: 'threw', error }),
  )
  try {
    return await Promise.race([look, sleep<Look>(deadlineMs, { kind: 'expired' }, { signal: timer.signal })])
  } finally {
    timer.abort()
  }
}

function describe(last: Look): string {
  if (last.kind === 'expired') return 'the condition never returned'
  if (last.kind === 'threw') return `last look threw: ${last.error instanceof Error ? last.error.message : inspect(last.error)}`
  return `last seen: ${inspect(last.value, { depth: 3, breakLength: Number.POSITIVE_INFINITY }).slice(0, 500)}`
}
