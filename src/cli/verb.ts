// One verb of the command line: words, flags and what it does. The verbs are listed in `catalog.ts`; `program.ts` runs them.
// A verb imports only light modules at the top; contracts, zod and the client come in when it runs, so that `--help` is quick.
import { err, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import type { Core } from './core.ts'
import type { COMMON_FLAGS, Flags, FlagValues } from './flags.ts'
import type { Output } from './output.ts'

type Group = 'Platform' | 'Deploy and launch' | 'Look' | 'Act' | 'Operate'

export interface Call<F extends Flags> {
  readonly core: Core
  readonly out: Output
  readonly args: readonly string[]
  readonly flags: FlagValues<F & typeof COMMON_FLAGS>
}

/** What a verb comes to: its exit code, or the failure that is printed. */
export type Outcome = Result<number, Failure>

export interface Verb<F extends Flags = Flags> {
  /** `show`, or `nodes cordon` below a parent verb that must come earlier in the catalog. */
  readonly name: string
  /** As commander wants them: `<id>`, `[command...]`. */
  readonly args: string
  readonly group: Group
  readonly summary: string
  /** More for `--help`: examples. */
  readonly more?: string
  /** What to do when there is no such object, where it is not an instance that is named. */
  readonly missing?: string
  readonly flags: F
  run(call: Call<F>): Promise<Outcome>
}

/** A verb whose flag types are forgotten, ready to be listed beside others. */
export interface ListedVerb extends Omit<Verb, 'run'> {
  readonly start: (given: Given) => Promise<Outcome>
}

export interface Given {
  readonly core: Core
  readonly out: Output
  readonly args: readonly string[]
  readonly raw: Readonly<Record<string, unknown>>
  readonly readFlags: <F extends Flags>(
    flags: F,
    raw: Readonly<Record<string, unknown>>,
  ) => Promise<Result<FlagValues<F & typeof COMMON_FLAGS>, Failure>>
}

export function verb<const F extends Flags>(given: Verb<F>): ListedVerb {
  const { run, ...words } = given
  return {
    ...words,
    start: async ({ core, out, args, raw, readFlags }) => {
      const flags = await readFlags(given.flags, raw)
      return flags.ok ? run({ core, out, args, flags: flags.value }) : flags
    },
  }
}

/** Marks a failure as being about the words of the command line, whose next step is the verb's own help. */
export const USAGE = Symbol('usage')

export const usage = (detail: string, field?: string): Result<never, Failure> =>
  err(failure('invalid_input', detail, field === undefined ? undefined : { field }, USAGE))
