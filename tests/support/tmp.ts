import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { runId, runRoot } from './run.ts'

/** A fresh empty directory for the running test; removed when the test ends, however it ends. Only inside a test. */
export async function tmpDir(): Promise<string> {
  const dir = await ownTmpDir()
  onTestFinished(() => dir[Symbol.asyncDispose]())
  return dir.path
}

/** The same where no test runs (`beforeAll`, a shared fixture): `await using dir = …`, or dispose it in `afterAll`. */
export async function ownTmpDir(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(runRoot(runId()), 't'))
  await chmod(path, 0o755) // daemons that drop their privileges must be able to pass
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }) }
}
