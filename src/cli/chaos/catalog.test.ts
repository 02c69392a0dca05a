// What the list promises, and that nothing is harmed by a word that was mistyped or a pid that means something else.
import { execFileSync, spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { SCENARIOS } from './catalog.ts'
import { partPid } from './parts.ts'
import type { ScenarioOptions } from './scenario.ts'
import { workload } from './workload.ts'

test('each scenario has a name of its own and says what it does and needs; controls are there', () => {
  expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length)
  for (const { does, needs } of SCENARIOS) expect(Math.min(does.length, needs.length)).toBeGreaterThan(5)
  expect(SCENARIOS.filter(({ control }) => control).length).toBeGreaterThanOrEqual(4)
})

test('a pid that is not what its flag says is refused, and so are 0 and 1', () => {
  const options = (pid: number | null): ScenarioOptions => ({
    instances: 1,
    faults: 1,
    everyMs: 1,
    warmUpMs: 0,
    watchMs: 1,
    launch: {},
    parts: { pid: () => pid, fillDir: null, listen: null, to: null },
  })
  const refused = partPid(options(process.pid), 'dockerd')
  expect(!refused.ok && refused.error.detail).toContain('is not the Docker Engine; it was not touched')
  const absent = partPid(options(null), 'agent')
  expect(!absent.ok && absent.error.detail).toContain('--agent-pid')
})

describeNeeds('perl', 'the workload', () => {
  test('is a program that perl accepts, and that refuses to run without a port', () => {
    const [program = '', flag = '', text = ''] = workload({ name: 'a', run: 'r' }).command ?? []
    expect([program, flag]).toEqual(['perl', '-e'])
    expect(() => execFileSync('perl', ['-c', '-e', text], { stdio: 'pipe' })).not.toThrow()
    expect(spawnSync('perl', ['-e', text], { env: { PATH: process.env.PATH }, timeout: 5000 }).status).toBeGreaterThan(0)
  })
})
