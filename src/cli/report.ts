// How a failure leaves the process: one line what, one line what to do next, on standard error; with --json one object on standard
// output instead. Nothing else is ever printed about an error.
import { ERRORS, type Failure } from '../contracts/errors.ts'
import { asTyped } from './called.ts'
import type { Core } from './core.ts'
import { exitCodeOf } from './exit.ts'
import { harmless } from './render/human.ts'

export interface ErrorValue {
  readonly error: {
    readonly code: string
    readonly message: string
    readonly hint: string
    readonly retryable: boolean
    readonly fields: Readonly<Record<string, unknown>>
  }
}

/** Prints it and returns the exit code. `next` replaces the hint of the table where the CLI knows better. */
export async function report(core: Core, json: boolean, given: Failure, next?: string, exitCode?: number): Promise<number> {
  const value = errorValue(given, next)
  if (json) await core.out.write(`${JSON.stringify(value)}\n`)
  else await core.err.write(`holdfast: ${harmless(value.error.message)}\n  ${asTyped(harmless(value.error.hint), core.called)}\n`)
  return exitCode ?? exitCodeOf(given.code)
}

export function errorValue(given: Failure, next?: string): ErrorValue {
  const row = ERRORS[given.code]
  return {
    error: {
      code: given.code,
      message: messageOf(given),
      hint: next ?? row.next,
      retryable: row.retry !== 'never',
      fields: given.fields ?? {},
    },
  }
}

/** The particulars when there are any; the table's sentence alone says too little, and both together say it twice. */
export const messageOf = (given: Failure): string => given.detail || ERRORS[given.code].message
