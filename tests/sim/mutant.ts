// Runs simulations with one guard taken out: node tests/sim/mutant.ts NAME SEEDS. Says which seed noticed first, and by what.
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { MUTATIONS } from './mutations.ts'

const ROOT = join(import.meta.dirname, '../..')
const [name, seeds] = process.argv.slice(2)
const mutation = MUTATIONS.find((one) => one.name === name)
if (!mutation) throw new Error(`no mutation ${name}`)
const byUrl = Map.groupBy(mutation.edits, ({ file }) => pathToFileURL(join(ROOT, file)).href)
const left = new Set(mutation.edits)
registerHooks({
  load(loading, context, next) {
    const loaded = next(loading, context)
    const edits = byUrl.get(loading)
    if (!edits) return loaded
    let source = String(loaded.source)
    for (const edit of edits) {
      if (source.split(edit.from).length !== 2) throw new Error(`${name}: its text stands not exactly once in ${edit.file}`)
      source = source.replace(edit.from, () => edit.to)
      left.delete(edit)
    }
    return { ...loaded, source }
  },
})

const { simulate } = await import('./run.ts')
const { MUTANT_SIZE } = await import('./schedule.ts')
const answer = async () => {
  for (let seed = 1; seed <= Number(seeds); seed += 1) {
    const { violations } = await simulate({ seed, size: { ...MUTANT_SIZE, ...mutation.size } })
    const [first] = violations
    if (first) return { seeds: seed, invariant: first.invariant, detail: first.detail }
  }
  return { seeds: Number(seeds), invariant: null, detail: '' }
}
const found = await answer()
if (left.size > 0) throw new Error(`${name}: ${[...left].map(({ file }) => file).join(', ')} not loaded`)
console.log(JSON.stringify(found))
