// Runs simulations with one guard taken out: node tests/sim/mutant.ts NAME SEEDS. Says which seed noticed first, and by what.
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { MUTATIONS } from './mutations.ts'

const ROOT = join(import.meta.dirname, '../..')
const [name, seeds] = process.argv.slice(2)
const mutation = MUTATIONS.find((one) => one.name === name)
if (!mutation) throw new Error(`no mutation ${name}`)
const edits = [mutation, ...(mutation.also ? [mutation.also] : [])]
const byUrl = new Map(edits.map((edit) => [pathToFileURL(join(ROOT, edit.file)).href, edit]))
const left = new Set(edits)
registerHooks({
  load(loading, context, next) {
    const loaded = next(loading, context)
    const edit = byUrl.get(loading)
    if (!edit) return loaded
    const source = String(loaded.source)
    if (source.split(edit.from).length !== 2) throw new Error(`${name}: its text stands not exactly once in ${edit.file}`)
    left.delete(edit)
    return { ...loaded, source: source.replace(edit.from, () => edit.to) }
  },
})

const { simulate } = await import('./run.ts')
const { MUTANT_SIZE } = await import('./schedule.ts')
const answer = async () => {
  for (let seed = 1; seed <= Number(seeds); seed += 1) {
    const { violations } = await simulate({ seed, size: MUTANT_SIZE })
    const [first] = violations
    if (first) return { seeds: seed, invariant: first.invariant, detail: first.detail }
  }
  return { seeds: Number(seeds), invariant: null, detail: '' }
}
const found = await answer()
if (left.size > 0) throw new Error(`${name}: ${[...left].map(({ file }) => file).join(', ')} not loaded`)
console.log(JSON.stringify(found))
