import { join } from 'node:path'

/** Set once per run by the global setup and inherited by everything that the run starts: the mark by which leaks are found. */
export const RUN_VARIABLE = 'HOLDFAST_TEST_RUN'

/** The mark of this run. Put it into node ids and labels of containers, so that a forgotten one is recognised. */
export function runId(): string {
  const run = process.env[RUN_VARIABLE]
  if (run === undefined) throw new Error(`${RUN_VARIABLE} is not set: this is not a vitest run of this project`)
  return run
}

/**
 * All temporary files of a run lie here: the global setup makes it the TMPDIR of the run, so that also what asks the system for a
 * temporary directory is found. Short, because unix socket paths end at 107 bytes.
 */
export function runRoot(run: string): string {
  return join('/tmp', run)
}
