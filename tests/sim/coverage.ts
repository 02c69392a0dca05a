// What a number of simulations has seen: how often each fault came and had an effect, and each transition that the documents draw.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Report } from './run.ts'

const MODEL = join(import.meta.dirname, '../../docs/models/instance.md')

/** `from > to`, as drawn; the begin is the row that control makes, which is no transition. */
export function drawnTransitions(): readonly string[] {
  const drawn = [...readFileSync(MODEL, 'utf8').matchAll(/^ +(\S+) --> ([^\s:]+)/gm)].map(([, from, to]) => `${from} > ${to}`)
  return drawn.filter((one) => !one.includes('[*]'))
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
    return drawnTransitions().filter((one) => !this.transitions.has(one))
  }

  tables(): string {
    const drawn = new Set(drawnTransitions())
    const faults = [...this.fired].map(([kind, [came, hit]]) => `${kind.padEnd(34)}${String(came).padStart(8)}${String(hit).padStart(10)}`)
    const steps = [...drawn].map((one) => `${one.padEnd(34)}${String(this.transitions.get(one) ?? 0).padStart(8)}`)
    const others = [...this.transitions].filter(([one]) => !drawn.has(one)).sort(([left], [right]) => (left < right ? -1 : 1))
    return [
      `${'fault or act'.padEnd(34)}${'came'.padStart(8)}${'effect'.padStart(10)}`,
      ...faults,
      '',
      `${'transition'.padEnd(34)}${'seen'.padStart(8)}`,
      ...steps,
      ...others.map(([one, times]) => `${`${one} (not drawn)`.padEnd(44)}${String(times).padStart(8)}`),
      '',
      `episodes: ${[...this.outcomes].map(([outcome, times]) => `${outcome} ${times}`).join(', ')}`,
    ].join('\n')
  }
}
