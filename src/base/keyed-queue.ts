// A queue that runs at most one job per key at a time. Nudges for a waiting key fold into one; nudges during a run fold
// into exactly one more run. Keys start in the order of their first nudge. A failed run is reported and never retried here:
// the caller is level-triggered and its resync asks again.

export interface KeyedQueue<K> {
  /** Ask for a run of `key`. */
  nudge(key: K): void
  /** Resolves when nothing runs and nothing waits. */
  idle(): Promise<void>
  /** No new runs start; resolves when the running ones have ended. */
  close(): Promise<void>
  readonly waiting: number
  readonly running: number
}

export interface KeyedQueueOptions<K> {
  readonly run: (key: K) => Promise<void>
  readonly onError: (key: K, error: unknown) => void
  /** At most this many keys run at once. */
  readonly concurrencyMax: number
}

export function keyedQueue<K>(options: KeyedQueueOptions<K>): KeyedQueue<K> {
  const waiting = new Set<K>()
  const running = new Set<K>()
  const again = new Set<K>()
  let idleWaiters: (() => void)[] = []
  let closed = false

  const settle = () => {
    if (running.size > 0 || (waiting.size > 0 && !closed)) return
    const waiters = idleWaiters
    idleWaiters = []
    for (const resolve of waiters) resolve()
  }
  const runOne = async (key: K) => {
    try {
      await options.run(key)
    } catch (error) {
      options.onError(key, error)
    }
    running.delete(key)
    if (again.delete(key)) waiting.add(key)
    pump()
  }
  const pump = () => {
    for (const key of waiting) {
      if (closed || running.size >= options.concurrencyMax) break
      waiting.delete(key)
      running.add(key)
      void runOne(key)
    }
    settle()
  }
  const idle = () =>
    running.size === 0 && (waiting.size === 0 || closed) ? Promise.resolve() : new Promise<void>((resolve) => idleWaiters.push(resolve))

  return {
    nudge(key) {
      if (closed) return
      if (running.has(key)) again.add(key)
      else waiting.add(key)
      pump()
    },
    idle,
    close() {
      closed = true
      return idle()
    },
    get waiting() {
      return waiting.size
    },
    get running() {
      return running.size
    },
  }
}
