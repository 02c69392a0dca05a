/** At most `max` runs at once; the others wait in the order they came. An aborted waiter leaves the line. */
export interface Semaphore {
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>
  readonly running: number
  readonly waiting: number
}

export function semaphore(max: number): Semaphore {
  let running = 0
  const line: (() => void)[] = []
  const acquire = (signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      if (running < max) {
        running += 1
        return resolve()
      }
      const enter = () => {
        signal.removeEventListener('abort', leave)
        running += 1
        resolve()
      }
      const leave = () => {
        line.splice(line.indexOf(enter), 1)
        reject(signal.reason)
      }
      line.push(enter)
      signal.addEventListener('abort', leave, { once: true })
    })
  return {
    async run(signal, work) {
      await acquire(signal)
      try {
        return await work()
      } finally {
        running -= 1
        line.shift()?.()
      }
    },
    get running() {
      return running
    },
    get waiting() {
      return line.length
    },
  }
}
