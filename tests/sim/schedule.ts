// What happens in a simulation, as data made from the seed: when, and what. Each entry has a number from which it draws all its chance,
// so that taking others away does not change it. A run only carries out what is written here.
import { ACTS } from './acts.ts'
import { chance } from './chance.ts'
import { FAULTS } from './faults.ts'

export interface Entry {
  readonly atMs: number
  readonly kind: string
  readonly number: number
}

export interface Size {
  readonly hours: number
  readonly nodes: number
  readonly instances: number
  /** How many faults, and how many wishes of people. */
  readonly faults: number
  readonly acts: number
}

export const SIZE: Size = { hours: 2, nodes: 5, instances: 50, faults: 110, acts: 110 }

/** Small and full of trouble: in which a guard that was taken out is missed soonest. */
export const MUTANT_SIZE: Size = { hours: 1.4, nodes: 3, instances: 24, faults: 110, acts: 110 }

/** Launches and the first deploys have come to rest by then. */
const BEGIN_MS = 60_000
/** Longer than the longest documented wait: heals up to five minutes apart, a quarantine of five, a budget of ten. */
const QUIET_MS = 40 * 60_000

export const endOf = ({ hours }: Size): number => hours * 3_600_000
/** From here on nothing goes wrong any more. */
export const quietFrom = (size: Size): number => Math.max(BEGIN_MS * 2, endOf(size) - QUIET_MS)

export function scheduleOf(seed: number, size: Size): readonly Entry[] {
  const random = chance(seed, 'schedule')
  const draw = (count: number, table: Readonly<Record<string, { readonly weight: number }>>) => {
    const bag = Object.entries(table).flatMap(([kind, { weight }]) => Array.from({ length: weight }, () => kind))
    return Array.from({ length: count }, () => random.pick(bag) ?? '')
  }
  const kinds = [...draw(size.faults, FAULTS), ...draw(size.acts, ACTS)]
  // Trouble comes in clusters: most entries lie near one of a few moments.
  const moments = Array.from({ length: 12 }, () => random.between(BEGIN_MS, quietFrom(size)))
  const timed = kinds.map((kind, number) => {
    const near = random.pick(moments) ?? BEGIN_MS
    const atMs = random.happens(0.6) ? near + random.between(0, 60_000) : random.between(BEGIN_MS, quietFrom(size))
    return { atMs: Math.min(atMs, quietFrom(size)), kind, number }
  })
  return timed.sort((left, right) => left.atMs - right.atMs)
}
