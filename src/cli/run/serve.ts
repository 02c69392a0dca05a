// The frame of every verb that stays running: it takes its directory, answers signals, and in the end closes what was started, newest
// first. What fails to close is told and holds up nothing else.
import { Cleanup } from '../../base/cleanup.ts'
import { ok } from '../../base/result.ts'
import { failure } from '../../contracts/errors.ts'
import type { Core } from '../core.ts'
import { EXIT } from '../exit.ts'
import type { Output } from '../output.ts'
import { report } from '../report.ts'
import type { Outcome } from '../verb.ts'
import { type Ending, onEnding } from './ending.ts'
import { type Place, takePlace } from './place.ts'

export interface Frame {
  readonly place: Place
  readonly ending: Ending
  /** What is made while serving is registered here. */
  readonly cleanup: Cleanup
}

/** Runs `work` on `dir`, which nobody else can take meanwhile; `data_dir_in_use` when somebody has it. */
export async function serveOn(
  core: Core,
  out: Output,
  dir: string,
  verb: 'up' | 'server' | 'agent',
  work: (frame: Frame) => Promise<Outcome>,
): Promise<Outcome> {
  const place = await takePlace(dir, verb, core.pid, core.random)
  if (!place.ok) return place
  const ending = onEnding(core)
  const cleanup = new Cleanup()
  cleanup.add('signals', () => ending.release())
  cleanup.add('directory', () => place.value.leave())
  try {
    const outcome = await work({ place: place.value, ending, cleanup })
    if (outcome.ok || outcome.error.code !== 'cancelled' || !ending.signal.aborted) return outcome
    await out.note('holdfast stopped before it had started; it changed nothing that runs')
    return ok(EXIT.ok)
  } finally {
    for (const { what, error } of await cleanup.run())
      await report(
        core,
        out.json,
        failure('internal', `Ending the ${what} failed: ${error instanceof Error ? error.message : String(error)}`),
      )
  }
}
