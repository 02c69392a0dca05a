import { describe, inject, test } from 'vitest'
import type { Availability, Need } from './probes.ts'

declare module 'vitest' {
  interface ProvidedContext {
    needs: Record<Need, Availability>
  }
  interface TaskMeta {
    /** Why a suite is skipped; the reporter prints it. */
    unavailable?: string
  }
}

/** What the probes at the start of the run found. */
export function needs(what: Need): Availability {
  return inject('needs')[what]
}

/**
 * A suite that needs something from outside. Present: it runs. Absent: it is registered as skipped and the run says so at its end,
 * with the command that mends it. Absent although `HOLDFAST_TEST_REQUIRE` (a comma list, or `all`) names it: one failing test.
 * The body is also called for a skipped suite, so that its tests are counted: touch nothing external outside of tests and hooks.
 */
export function describeNeeds(what: Need | readonly Need[], name: string, body: () => void): void {
  const wanted = typeof what === 'string' ? [what] : what
  const missing = wanted.flatMap((need) => {
    const found = needs(need)
    return found.ok ? [] : [{ need, reason: found.reason, install: found.install }]
  })
  if (missing.length === 0) {
    describe(name, body)
    return
  }
  const explained = missing.map(({ reason, install }) => `${reason}; install: ${install}`).join(' | ')
  const required = missing.filter(({ need }) => isRequired(need, process.env.HOLDFAST_TEST_REQUIRE))
  if (required.length === 0) {
    describe(name, { skip: true, meta: { unavailable: explained } }, body)
    return
  }
  describe(name, () => {
    test(`has what HOLDFAST_TEST_REQUIRE demands: ${required.map(({ need }) => need).join(', ')}`, () => {
      throw new Error(explained)
    })
  })
}

export function isRequired(need: Need, list: string | undefined): boolean {
  const names = (list ?? '').split(',').map((name) => name.trim())
  return names.includes('all') || names.includes(need)
}
