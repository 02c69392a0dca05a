import type { Target } from './host.ts'
import type { Rig } from './rig.ts'
import type { ScenarioOptions } from './scenario.ts'
import { exponentialMs } from './statistics.ts'

/** As many targets as faults are asked for, each once at most, at Poisson arrivals: what one is at afterwards is part of the answer. */
export async function eachOnce(
  rig: Rig,
  targets: readonly Target[],
  { faults, everyMs }: Pick<ScenarioOptions, 'faults' | 'everyMs'>,
  harm: (target: Target) => Promise<unknown>,
): Promise<void> {
  const work: Promise<unknown>[] = []
  for (const target of targets.slice(0, faults)) {
    await rig.clock.sleep(exponentialMs(rig.random, everyMs))
    work.push(harm(target))
  }
  await Promise.all(work)
}
