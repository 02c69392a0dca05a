import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'tests/**/*.test.ts'],
    // Processes, not threads: our tests start and kill processes, and a worker that dies must not take the whole run along.
    pool: 'forks',
    // 120 files: 31 s isolated, 2 s shared. No test may therefore leave module state, timers or environment behind.
    isolate: false,
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    globalSetup: ['tests/support/global-setup.ts'],
    reporters: ['default', './tests/support/reporter.ts'],
  },
})
