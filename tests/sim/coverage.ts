// What a number of simulations has seen: how often each fault came and had an effect, and each transition that the documents draw.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Report } from './run.ts'

const MODEL = join(import.meta.dirname, '../../docs/models/instance.md')

/** One arrow of the drawing, and the transitions that it stands for. */
export interface Drawn {
  readonly name: string
  readonly steps: readonly string[]
}

/**
 * What is drawn. An arrow from or to a group stands for one of each of its states: a group is `state "name: a, b" as id`, and
 * `state "name: all but a, b" as id` is every other state that has an arrow of its own. The begin and the end are no transitions.
 */
export function drawnTransitions(text = readFileSync(MODEL, 'utf8')): readonly Drawn[] {
  const groups = new Map(
    [...text.matchAll(/^ +state ".*?: (all but )?(.+)" as (\S+)$/gm)].map(([, not, names = '', id]) => [
      id,
      { not, names: names.split(', ') },
    ]),
  )
  const arrows = [...text.matchAll(/^ +(\S+) --> ([^\s:]+)/gm)].map(([, from = '', to = '']) => [from, to] as const)
  const ends = arrows.filter((arrow) => !arrow.includes('[*]'))
  const states = [...new Set(ends.flat())].filter((one) => !groups.has(one))
  const members = (one: string): readonly string[] => {
    const group = groups.get(one)
    if (!group) return [one]
    return group.not ? states.filter((state) => !group.names.includes(state)) : group.names
  }
  return ends.map(([from, to]) => ({
    name: `${from} > ${to}`,
    steps: members(from).flatMap((left) => members(to).flatMap((right) => (left === right ? [] : [`${left} > ${right}`]))),
  }))
}

/** The same state with another reason or error is no arrow. */
const isStep = (one: string): boolean => {
  const [from, to] = one.split(' > ')
  return from !== to && from !== '[*]'
}

export class Coverage {
  readonly fired = new Map<string, [number, number]>()
  readonly transitions = new Map<string, number>()
  readonly outcomes = new Map<string, number>()
  runs = 0

  add(report: Pick<Report, 'fired' | 'transitions' | 'outcomes'>): void {
    this.runs += 1
    for (const [kind, [came, hit]] of Object.entries(report.fired)) {
      const [before, hitBefore] = this.fired.get(kind) ?? [0, 0]
      this.fired.set(kind, [before + came, hitBefore + hit])
    }
    for (const [step, times] of Object.entries(report.transitions)) this.transitions.set(step, (this.transitions.get(step) ?? 0) + times)
    for (const [outcome, times] of Object.entries(report.outcomes)) this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + times)
  }

  /** Drawn and never seen. */
  missing(): readonly string[] {
    return drawnTransitions().flatMap(({ name, steps }) => (steps.some((one) => this.transitions.has(one)) ? [] : [name]))
  }

  /** Seen and not drawn. */
  unknown(): readonly string[] {
    const drawn = new Set(drawnTransitions().flatMap(({ steps }) => steps))
    return [...this.transitions.keys()].filter((one) => isStep(one) && !drawn.has(one)).sort()
  }

  tables(): string {
    const seen = (one: string) => this.transitions.get(one) ?? 0
    const row = (one: string, times: number) => `${one.padEnd(44)}${String(times).padStart(8)}`
    const faults = [...this.fired].map(([kind, [came, hit]]) => `${kind.padEnd(34)}${String(came).padStart(8)}${String(hit).padStart(10)}`)
    const steps = drawnTransitions().map(({ name, steps: all }) =>
      row(
        name,
        all.reduce((sum, one) => sum + seen(one), 0),
      ),
    )
    const again = [...this.transitions.keys()].filter((one) => !isStep(one)).reduce((sum, one) => sum + seen(one), 0)
    return [
      `${'fault or act'.padEnd(34)}${'came'.padStart(8)}${'effect'.padStart(10)}`,
      ...faults,
      '',
      `${'transition'.padEnd(44)}${'seen'.padStart(8)}`,
      ...steps,
      ...this.unknown().map((one) => row(`${one} (not drawn)`, seen(one))),
      row('the same state for another reason', again),
      '',
      `episodes: ${[...this.outcomes].map(([outcome, times]) => `${outcome} ${times}`).join(', ')}`,
    ].join('\n')
  }
}
