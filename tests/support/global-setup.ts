import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { endMarked, sweep } from './leaks.ts'
import { dockerSocket, probeAll } from './probes.ts'
import { RUN_VARIABLE, runRoot } from './run.ts'
import { recordLeaks } from './verdict.ts'

const LEAK_PATIENCE_MS = 5_000
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const run = `hf${randomBytes(4).toString('hex')}`
  process.env[RUN_VARIABLE] = run
  process.env.TMPDIR = runRoot(run)
  mkdirSync(runRoot(run), { mode: 0o755 })
  endWhenCutShort(run)
  project.provide('needs', await probeAll(process.env))
  return async () => {
    const leaks = await sweep({ run, socketPath: dockerSocket(process.env), patienceMs: LEAK_PATIENCE_MS, runner: process.pid })
    if (leaks.length === 0) return
    recordLeaks(leaks)
    process.exitCode = 1
    for (const leak of leaks) process.stderr.write(`LEAKED: ${leak}\n`)
  }
}

/** A run that is interrupted has no teardown, and workloads are built to outlive who started them: end them here, at once. */
function endWhenCutShort(run: string): void {
  for (const [signal, number] of Object.entries(SIGNAL_NUMBERS)) {
    process.once(signal, () => {
      endMarked(run)
      process.exit(128 + number)
    })
  }
}
