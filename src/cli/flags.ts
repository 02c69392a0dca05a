// Flags as data: the words commander parses, and a reader that turns its loose value into a typed one or says what is wrong with it.
import { err, ok, type Result } from '../base/result.ts'

export interface Flag<T> {
  /** As commander wants them: `-l, --selector <selector>`. */
  readonly words: string
  readonly help: string
  readonly repeats: boolean
  readonly choices: readonly string[]
  /** What the flag means without a value; absent = it takes none, or needs one. */
  readonly bare?: string
  readonly read: (raw: unknown) => Result<T, string> | Promise<Result<T, string>>
}

export type Flags = Readonly<Record<string, Flag<unknown>>>
export type FlagValues<F extends Flags> = { readonly [K in keyof F]: F[K] extends Flag<infer T> ? T : never }

const plain = { repeats: false, choices: [] }

/** A switch: there or not. */
export const flag = (words: string, help: string): Flag<boolean> => ({ ...plain, words, help, read: (raw) => ok(raw === true) })

export const text = (words: string, help: string): Flag<string | undefined> => ({
  ...plain,
  words,
  help,
  read: (raw) => (raw === '' ? err('must not be empty') : ok(typeof raw === 'string' ? raw : undefined)),
})

/** May be given several times. */
export const many = (words: string, help: string): Flag<readonly string[]> => ({
  words,
  help,
  repeats: true,
  choices: [],
  read: (raw) => ok(Array.isArray(raw) ? raw.map(String) : []),
})

export const oneOf = <const C extends string>(words: string, help: string, choices: readonly C[]): Flag<C | undefined> => ({
  words,
  help,
  repeats: false,
  choices,
  read: (raw) => {
    if (raw === undefined) return ok(undefined)
    const chosen = choices.find((choice) => choice === raw)
    return chosen === undefined ? err(`must be one of ${choices.join(', ')}`) : ok(chosen)
  },
})

/** `--wait` alone means `bare`; `--wait=state` names one of `choices`. */
export const oneOfOr = <const C extends string>(
  words: string,
  help: string,
  choices: readonly C[],
  bare: NoInfer<C>,
): Flag<C | undefined> => {
  const inner = oneOf(words, help, choices)
  return { ...inner, bare, read: (raw) => inner.read(raw === true ? bare : raw) }
}

export const whole = (words: string, help: string, min: number, max: number): Flag<number | undefined> => ({
  ...plain,
  words,
  help,
  read: (raw) => {
    if (raw === undefined) return ok(undefined)
    const value = typeof raw === 'string' && /^[0-9]{1,15}$/.test(raw) ? Number(raw) : Number.NaN
    return value >= min && value <= max ? ok(value) : err(`must be a whole number from ${min} to ${max}`)
  },
})

export const decimal = (words: string, help: string): Flag<number | undefined> => ({
  ...plain,
  words,
  help,
  read: (raw) => {
    if (raw === undefined) return ok(undefined)
    return typeof raw === 'string' && /^[0-9]{1,9}(\.[0-9]{1,9})?$/.test(raw) ? ok(Number(raw)) : err('must be a number such as 0.5 or 2')
  },
})

/** A duration such as `60s`, as milliseconds. */
export const duration = (words: string, help: string): Flag<number | undefined> => ({
  ...plain,
  words,
  help,
  read: async (raw) => {
    if (typeof raw !== 'string') return ok(undefined)
    const { parseDuration } = await import('../contracts/units.ts')
    const ms = parseDuration(raw)
    return ms === undefined || ms <= 0 ? err('must be a duration such as 500ms, 30s, 5m or 1h') : ok(ms)
  },
})

/** Every verb has these. */
export const COMMON_FLAGS = {
  json: flag('--json', 'print one JSON value and nothing else (streams: one per line)'),
  dataDir: text('--data-dir <dir>', 'data directory of the local platform (HOLDFAST_DATA_DIR; default: .holdfast here or above)'),
  url: text('--url <url>', 'the control plane to talk to (HOLDFAST_URL)'),
} as const
