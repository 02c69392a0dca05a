// The test kit's own guarantees: a run that leaks, skips or does nothing cannot look green.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { markedProcesses, sweep } from './support/leaks.ts'
import { isRequired, needs } from './support/needs.ts'
import { NEEDS } from './support/probes.ts'
import { RUN_VARIABLE, runId, runRoot } from './support/run.ts'
import { ownTmpDir, tmpDir } from './support/tmp.ts'
import { closing } from './support/verdict.ts'
import { waitFor } from './support/wait.ts'

const NO_DOCKER = '/nowhere/docker.sock'

describe('closing line', () => {
  const clean = { passed: 3, failed: 0, skipped: 0 }

  test('a clean run ends in the two counts and nothing else', () => {
    expect(closing(clean, [], [])).toEqual({ ok: true, lines: ['3 passed, 0 failed'] })
  })
  test('skipped suites are named with their reason, before the closing line, which counts them', () => {
    const skipped = [{ name: 'docker suite', tests: 12, reason: 'Docker Engine not reachable; install: apt-get install docker.io' }]
    expect(closing({ ...clean, skipped: 12 }, [], skipped).lines).toEqual([
      'SKIPPED: docker suite (12 tests): Docker Engine not reachable; install: apt-get install docker.io',
      '3 passed, 0 failed, 12 skipped',
    ])
  })
  test('a leak fails the run even when every test passed', () => {
    const { ok, lines } = closing(clean, ['process 12'], [])
    expect([ok, lines.at(-1)]).toEqual([false, '3 passed, 1 failed'])
  })
  test('a run in which nothing ran has failed', () => {
    const { ok, lines } = closing({ passed: 0, failed: 0, skipped: 5 }, [], [])
    expect([ok, lines.at(-1)]).toEqual([false, '0 passed, 1 failed, 5 skipped'])
  })
})

describe('leaks', () => {
  const foreign = `hfrun-of-a-test-${process.pid}`

  test('a process is found by its inherited mark, also when its own environment is clean but it works below the root of the run', async () => {
    await using root = await ownTmpDir()
    const marked = spawn('sleep', ['60'], { env: { [RUN_VARIABLE]: foreign } })
    const below = spawn('sleep', ['60'], { env: {}, cwd: root.path })
    try {
      const found = () => markedProcesses(foreign).map(({ pid, because }) => ({ pid, because }))
      await waitFor(() => found().length > 0, { what: 'the marked process has started', deadlineMs: 5_000 })
      expect(found()).toEqual([{ pid: marked.pid, because: 'environment' }])
      expect(markedProcesses(runId())).toContainEqual({ pid: below.pid, because: 'directory', command: 'sleep 60' })
    } finally {
      marked.kill('SIGKILL')
      below.kill('SIGKILL')
    }
    await waitFor(() => markedProcesses(foreign).length === 0, { what: 'killed processes are no leak', deadlineMs: 5_000 })
  })

  test('what is still there after the patience is named and ended', async () => {
    const marked = spawn('sleep', ['60'], { env: { [RUN_VARIABLE]: foreign }, detached: true })
    const ended = new Promise((resolve) => marked.once('exit', (_, signal) => resolve(signal)))
    await waitFor(() => markedProcesses(foreign).length > 0, { what: 'the process has started', deadlineMs: 5_000 })
    expect(await sweep({ run: foreign, socketPath: NO_DOCKER, patienceMs: 0 })).toEqual([
      `process ${marked.pid} (by environment): sleep 60`,
    ])
    expect(await ended).toBe('SIGKILL')
    expect(await sweep({ run: foreign, socketPath: NO_DOCKER, patienceMs: 0 })).toEqual([])
  })
})

describe('waiting', () => {
  test('the first truthy value is returned', async () => {
    let looks = 0
    expect(await waitFor(() => (++looks === 3 ? 'third' : undefined), { what: 'x', deadlineMs: 5_000, everyMs: 1 })).toBe('third')
  })
  test('the failure says what was awaited and what was last seen', async () => {
    await expect(waitFor(() => 0, { what: 'a number', deadlineMs: 30, everyMs: 5 })).rejects.toThrow(
      'not within 30 ms: a number (last seen: 0)',
    )
  })
  test('a condition that throws is not yet true, and its error is the cause', async () => {
    const cause = new Error('refused')
    const failure = waitFor(() => Promise.reject(cause), { what: 'an answer', deadlineMs: 30, everyMs: 5 })
    await expect(failure).rejects.toMatchObject({ message: 'not within 30 ms: an answer (last look threw: refused)', cause })
  })
  test('a condition that hangs is cut off', async () => {
    const failure = waitFor(() => new Promise<boolean>(() => undefined), { what: 'an answer', deadlineMs: 30 })
    await expect(failure).rejects.toThrow('the condition never returned')
  })
})

describe('temporary directories', () => {
  let earlier = ''
  test('lie below the root of the run, so that leaks in them are found', async () => {
    earlier = await tmpDir()
    await writeFile(join(earlier, 'file'), '')
    expect(earlier.startsWith(runRoot(runId()))).toBe(true)
  })
  test('are gone after the test', () => {
    expect(existsSync(earlier)).toBe(false)
  })
})

describe('needs', () => {
  test.each(NEEDS)('%s is there, or the reason and the remedy are known', (need) => {
    const found = needs(need)
    expect(found.ok || (found.reason !== '' && found.install !== '')).toBe(true)
  })
  test.each([
    ['docker', undefined, false],
    ['docker', '', false],
    ['docker', 'postgres', false],
    ['docker', 'postgres, docker', true],
    ['perl', 'all', true],
  ] as const)('%s with HOLDFAST_TEST_REQUIRE=%s required: %s', (need, list, required) => {
    expect(isRequired(need, list)).toBe(required)
  })
})
