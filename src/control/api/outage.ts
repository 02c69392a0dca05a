import type { Logger } from '../../base/log.ts'
import type { Failure } from '../../contracts/errors.ts'

/** Tells of a store that is away once per outage, however often it is asked meanwhile. */
export class Outage {
  readonly #log: Logger
  readonly #msg: string
  #told = false

  constructor(log: Logger, msg: string) {
    this.#log = log
    this.#msg = msg
  }

  failed(why: Failure): void {
    this.#log[this.#told ? 'debug' : 'warn'](this.#msg, { error_code: why.code, error: why.detail })
    this.#told = true
  }

  over(): void {
    this.#told = false
  }
}
