// The closing line of a run, and what goes into it. Pure but for the leaks, which vitest's teardown reports after the tests have ended
// and from another copy of this module (setup files and reporters are loaded by different loaders): hence the process-wide symbol.

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export interface Skipped {
  readonly name: string
  readonly tests: number
  readonly reason: string
}

const LEAKS = Symbol.for('holdfast.test.leaks')
type WithLeaks = { [LEAKS]?: readonly string[] }

export function recordLeaks(leaks: readonly string[]): void {
  ;(globalThis as WithLeaks)[LEAKS] = leaks
}

export function recordedLeaks(): readonly string[] {
  return (globalThis as WithLeaks)[LEAKS] ?? []
}

/** A run that leaked or ran nothing has failed, whatever its tests say: it counts as one more failure, so that line and exit code agree. */
export function closing(
  counts: Counts,
  leaks: readonly string[],
  skipped: readonly Skipped[],
): { readonly lines: readonly string[]; readonly ok: boolean } {
  const nothingRan = counts.passed + counts.failed === 0
  const failed = counts.failed + (leaks.length > 0 ? 1 : 0) + (nothingRan ? 1 : 0)
  return {
    ok: failed === 0,
    lines: [
      ...skipped.map(({ name, tests, reason }) => `SKIPPED: ${name} (${tests} ${tests === 1 ? 'test' : 'tests'}): ${reason}`),
      ...(leaks.length > 0 ? [`FAILED: the run left ${leaks.length} of its own behind, see LEAKED above`] : []),
      ...(nothingRan ? ['FAILED: no test ran'] : []),
      `${counts.passed} passed, ${failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`,
    ],
  }
}
