// A small number of simulations with each test run; CI runs hundreds (`npm run sim`). What they check is in docs/models/simulation.md.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readText } from '../support/tree.ts'
import { drawnTransitions } from './coverage.ts'
import { FAULTS } from './faults.ts'
import { MUTATIONS } from './mutations.ts'
import { type Report, simulate } from './run.ts'
import { type Size, scheduleOf } from './schedule.ts'
import kept from './seeds.json' with { type: 'json' }

const SMALL: Size = { hours: 1.2, nodes: 3, instances: 12, faults: 60, acts: 60 }
const SEEDS = Array.from({ length: 16 }, (_, index) => 1000 + index)
const said = ({ violations }: Report) => violations.map(({ atMs, invariant, detail }) => `${Math.round(atMs)} ms: ${invariant}: ${detail}`)

describe('simulations', () => {
  test.each(SEEDS)('T45: seed %i: nothing that must hold is broken', async (seed) => {
    expect(said(await simulate({ seed, size: SMALL }))).toEqual([])
  })

  test.each(kept)('seed %#, kept: $why', async ({ seed, size }) => {
    const report = await simulate({ seed, size })
    expect(said(report)).toEqual([])
    // An event storm is what one of them was kept for.
    expect(report.events).toBeLessThan(400_000)
  })

  test('one seed has one history: in this process, again, and in another one', async () => {
    const [first, second] = [await simulate({ seed: 5, size: SMALL }), await simulate({ seed: 5, size: SMALL })]
    expect(second.digest).toBe(first.digest)
    const flags = Object.entries(SMALL).flatMap(([name, value]) => [`--${name}`, String(value)])
    const other = execFileSync(process.execPath, [join(import.meta.dirname, 'main.ts'), '--seed', '5', ...flags], { encoding: 'utf8' })
    expect(other).toContain(`${first.events} events, history ${first.digest}`)
    expect((await simulate({ seed: 6, size: SMALL })).digest).not.toBe(first.digest)
  })

  test('an entry that is taken away leaves the others as they are', () => {
    const schedule = scheduleOf(9, SMALL)
    expect(schedule).toHaveLength(SMALL.faults + SMALL.acts)
    expect(schedule.map(({ number }) => number).toSorted((a, b) => a - b)).toEqual(schedule.map((_, index) => index))
  })

  test('each guard that a mutation takes out stands where it says', () => {
    const astray = MUTATIONS.flatMap(({ edits }) => edits).filter(({ file, from }) => readText(file).split(from).length !== 2)
    expect(astray.map(({ file, from }) => `${file}: ${from}`)).toEqual([])
  })

  test('what is drawn and what can go wrong is many', () => {
    expect(Object.keys(FAULTS).length).toBeGreaterThanOrEqual(40)
    expect(drawnTransitions().length).toBeGreaterThan(30)
  })

  test('an arrow of a group stands for one of each of its states', () => {
    const text = `
      state "lives: running, paused" as alive
      state "known: all but pending, lost" as known
      [*] --> pending
      pending --> running: begin
      running --> paused
      alive --> lost: silent
      lost --> known
    `
    const drawn = Object.fromEntries(drawnTransitions(text).map(({ name, steps }) => [name, steps]))
    expect(drawn).toEqual({
      'pending > running': ['pending > running'],
      'running > paused': ['running > paused'],
      'alive > lost': ['running > lost', 'paused > lost'],
      'lost > known': ['lost > running', 'lost > paused'],
    })
  })
})
