import type { Reporter, SerializedError, TestCase, TestModule, TestSuite, Vitest } from 'vitest/node'
import './needs.ts'
import { closing, recordedLeaks, type Skipped } from './verdict.ts'

/**
 * Prints, after everything else of the run including its teardown, why suites were skipped and the closing line. That is only
 * certain when the process exits; standard output is written synchronously there, to a file, a pipe or a terminal alike.
 */
export default class ClosingReporter implements Reporter {
  // A run that ends before its end was reported (a broken setup, say) has failed.
  #counts = { passed: 0, failed: 1, skipped: 0 }
  #skipped: readonly Skipped[] = []
  #filtered = false

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined
    if (vitest.config.watch) return
    process.once('exit', () => {
      const { lines, ok } = closing(this.#counts, recordedLeaks(), this.#skipped)
      if (!ok && !process.exitCode) process.exitCode = 1
      process.stdout.write(`\n${lines.join('\n')}\n`)
    })
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const suites = modules.flatMap((module) => [module, ...module.children.allSuites()])
    const count = (state: string) => tests.filter((one) => one.result().state === state).length
    // A file that cannot be loaded or a hook that fails has no test to be counted by.
    const broken = suites.filter((suite) => suite.errors().length > 0).length
    this.#counts = {
      passed: count('passed'),
      failed: count('failed') + broken + unhandled.length,
      skipped: count('skipped') + count('pending'),
    }
    this.#skipped = this.#filtered ? [] : reasons(tests.filter((one) => one.result().state === 'skipped'))
  }
}

/** One entry per suite that could not run; a test that skipped itself, or was skipped without a word, stands alone. */
function reasons(tests: readonly TestCase[]): readonly Skipped[] {
  const found = new Map<string, Skipped>()
  for (const one of tests) {
    const parents = lineage(one)
    // Inner suites inherit the meta data: the outermost one is the suite that could not run.
    const suite = parents.findLast((parent) => parent.meta().unavailable !== undefined)
    const name = suite?.fullName ?? one.fullName
    const result = one.result()
    const fallback = parents.some((parent) => parent.errors().length > 0) ? 'its suite failed, see above' : 'no reason given'
    const reason = suite?.meta().unavailable ?? (result.state === 'skipped' ? result.note : undefined) ?? fallback
    const key = `${one.module.moduleId}\0${name}\0${reason}`
    found.set(key, { name, reason, tests: (found.get(key)?.tests ?? 0) + 1 })
  }
  return [...found.values()]
}

function lineage(one: TestCase): readonly TestSuite[] {
  const parents: TestSuite[] = []
  for (let parent = one.parent; parent.type === 'suite'; parent = parent.parent) parents.push(parent)
  return parents
}
