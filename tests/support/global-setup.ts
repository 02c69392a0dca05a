import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { sweep } from './leaks.ts'
import { dockerSocket, probeAll } from './probes.ts'
import { RUN_VARIABLE, runRoot } from './run.ts'
import { recordLeaks } from './verdict.ts'

const LEAK_PATIENCE_MS = 5_000

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const run = `hfrun${randomBytes(4).toString('hex')}`
  process.env[RUN_VARIABLE] = run
  mkdirSync(runRoot(run), { mode: 0o755 })
  project.provide('needs', await probeAll(process.env))
  return async () => {
    const leaks = await sweep({ run, socketPath: dockerSocket(process.env), patienceMs: LEAK_PATIENCE_MS, runner: process.pid })
    if (leaks.length === 0) return
    recordLeaks(leaks)
    process.exitCode = 1
    for (const leak of leaks) process.stderr.write(`LEAKED: ${leak}\n`)
  }
}
