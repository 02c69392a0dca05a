/** Clean-up registered where a thing is made; runs once, newest first. Every step runs even when another fails. */
export class Cleanup {
  readonly #steps: { readonly what: string; readonly run: () => unknown }[] = []
  #running: Promise<readonly CleanupFailure[]> | undefined

  add(what: string, run: () => unknown): void {
    this.#steps.push({ what, run })
  }

  /** Idempotent; resolves with the failures of the steps, empty when all went well. */
  run(): Promise<readonly CleanupFailure[]> {
    this.#running ??= this.#runAll()
    return this.#running
  }

  async #runAll(): Promise<readonly CleanupFailure[]> {
    const failures: CleanupFailure[] = []
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.run()
      } catch (error) {
        failures.push({ what: step.what, error })
      }
    }
    return failures
  }
}

export interface CleanupFailure {
  readonly what: string
  readonly error: unknown
}
