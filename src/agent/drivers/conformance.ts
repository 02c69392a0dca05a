// One suite that every driver passes, so that a decision tested against the fake holds for the real runtimes.
// A driver's test file calls `driverConformance(name, makeHarness, skipped)`; a case that cannot hold there carries its reason.
// Each case gets a fresh harness; what it leaves behind is removed and a disposal that fails, fails the case.
import { describe, test } from 'vitest'
import { CASES, type CaseName } from './conformance-cases.ts'
import { Bench, type Harness } from './conformance-kit.ts'

const CASE_TIMEOUT_MS = 60_000

export function driverConformance(
  name: string,
  makeHarness: () => Promise<Harness>,
  skipped: Partial<Record<CaseName, string>> = {},
): void {
  describe(`driver conformance: ${name}`, () => {
    for (const [title, run] of Object.entries(CASES)) {
      const reason = Object.entries(skipped).find(([skippedTitle]) => skippedTitle === title)?.[1]
      if (reason !== undefined) {
        test(title, (context) => context.skip(reason))
        continue
      }
      test(title, { timeout: CASE_TIMEOUT_MS }, async () => {
        const harness = await makeHarness()
        const bench = new Bench(harness)
        try {
          await run(bench)
        } finally {
          await bench.driver[Symbol.asyncDispose]()
          await harness.dispose()
        }
      })
    }
  })
}
