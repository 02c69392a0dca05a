// Chance of a simulation: each user has a stream of its own, made from the seed and a name, so that taking an event out of a schedule
// does not change what the others draw.
import type { Random } from '../../src/base/clock.ts'
import { seededRandom } from '../../src/base/seeded-random.ts'

export interface Chance extends Random {
  between(min: number, max: number): number
  whole(min: number, max: number): number
  pick<T>(from: readonly T[]): T | undefined
  /** True with this probability. */
  happens(probability: number): boolean
}

export function chance(seed: number, ...names: readonly (string | number)[]): Chance {
  let mixed = seed >>> 0
  for (const character of names.join('/')) mixed = Math.imul(mixed ^ character.charCodeAt(0), 0x01000193) >>> 0
  const random = seededRandom(Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d))
  return {
    ...random,
    between: (min, max) => min + random.fraction() * (max - min),
    whole: (min, max) => min + Math.floor(random.fraction() * (max - min + 1)),
    pick: (from) => from[Math.floor(random.fraction() * from.length)],
    happens: (probability) => random.fraction() < probability,
  }
}
