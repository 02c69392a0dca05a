// The tree with one guard taken out, in a temporary copy: proof that the bench can see what the guard is for. Never a switch in the product.
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '../..')

export interface Guard {
  readonly name: string
  readonly file: string
  /** Stands there exactly once; the bench stops if it does not. */
  readonly text: string
  readonly without: string
}

export const GUARDS = {
  exitEvents: {
    name: "the watch of a run's directory (the end of a keeper still tells)",
    file: 'src/agent/drivers/process/tracker.ts',
    text: '(_event, name) => this.#changed(tracked, name)',
    without: '(_event, _name) => undefined',
  },
  engineEvents: {
    name: 'the events of the Docker Engine (the periodic scan still tells)',
    file: 'src/agent/drivers/docker/watcher.ts',
    text: 'if (event.ok) this.#deps.onEvent(event.value, clock.wallMs())',
    without: 'if (event.ok) void event.value',
  },
  dataLoss: {
    name: 'never kill what lives unless allow_data_loss',
    file: 'src/agent/reconcile/running.ts',
    text: "if (policy.mode === 'on' && policy.allowDataLoss && verdict.reason !== null)",
    without: "if (policy.mode === 'on' && verdict.reason !== null)",
  },
} as const satisfies Record<string, Guard>

/** The executable of the copy, and what removes it again. */
export async function treeWithout(guard: Guard): Promise<{ readonly bin: string; remove(): Promise<void> }> {
  const copy = await mkdtemp('/var/tmp/holdfast-without-')
  for (const part of ['bin', 'src', 'package.json']) await cp(join(ROOT, part), join(copy, part), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  const file = join(copy, guard.file)
  const text = await readFile(file, 'utf8')
  if (text.split(guard.text).length !== 2) throw new Error(`${guard.file} has not exactly one place "${guard.text}"`)
  await writeFile(file, text.replace(guard.text, guard.without))
  return { bin: join(copy, 'bin/holdfast.js'), remove: () => rm(copy, { recursive: true, force: true }) }
}
