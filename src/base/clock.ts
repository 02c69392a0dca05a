/** Two clocks, never confused. Everything that waits takes a signal. */
export interface Clock {
  /** Unix milliseconds; may jump. For records and across machines. */
  wallMs(): number
  /** Milliseconds since an arbitrary start; never goes back, may be fractional. For timeouts and backoff. */
  elapsedMs(): number
  /** Resolves after `durationMs`; rejects with the signal's reason when aborted. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>
  /** Calls `run` once after `delayMs`; the returned function cancels it. An unfired timer does not keep the process alive. */
  after(delayMs: number, run: () => void): () => void
}

/** The only source of randomness. */
export interface Random {
  /** Uniform in [0, 1). */
  fraction(): number
  /** `length` characters of [0-9a-z], unguessable. */
  text(length: number): string
}
