// The only file that knows the real time and real randomness; everything else is given a Clock and a Random.
import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Clock, Random } from './clock.ts'

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  elapsedMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const stop = () => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(
        () => {
          signal?.removeEventListener('abort', stop)
          resolve()
        },
        Math.max(0, durationMs),
      )
      signal?.addEventListener('abort', stop, { once: true })
    }),
  after: (delayMs, run) => {
    // Node fires a longer timer at once; a day is far beyond any wait of ours, and the level-triggered caller asks again.
    const timer = setTimeout(run, Math.min(Math.max(0, delayMs), 86_400_000))
    timer.unref()
    return () => clearTimeout(timer)
  },
}

const LETTERS = '0123456789abcdefghijklmnopqrstuvwxyz'

export const systemRandom: Random = {
  fraction: () => randomBytes(4).readUInt32BE() / 2 ** 32,
  text: (length) => {
    let text = ''
    // Bytes of 252 and more are dropped so that each letter is equally likely (252 = 7 * 36).
    while (text.length < length) for (const byte of randomBytes(length)) if (byte < 252 && text.length < length) text += LETTERS[byte % 36]
    return text
  },
}
