import type { Random } from './clock.ts'

/** Repeats from a seed, so that a run can be made again (mulberry32). Its texts can be guessed: never for a secret. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return { fraction, text: (length) => Array.from({ length }, () => Math.floor(fraction() * 36).toString(36)).join('') }
}
