import { expect, onTestFinished, test } from 'vitest'
import { usualAgentParts } from '../../tests/support/agent-parts.ts'
import { tmpDir } from '../../tests/support/tmp.ts'
import { Cleanup } from '../base/cleanup.ts'
import { systemClock, systemRandom } from '../base/system.ts'
import { type AgentParts, runAgent } from './assemble.ts'
import { createFakeDriver } from './drivers/fake/fake-driver.ts'
import { openInstanceFiles } from './execute/files.ts'
import { createPorts } from './execute/ports.ts'
import { openResidue } from './execute/residue.ts'
import { kernelReadings } from './monitor/readings.ts'

async function partsOf(change: Partial<AgentParts> = {}) {
  const { usual, said } = usualAgentParts()
  const stateDir = await tmpDir()
  const closed: string[] = []
  const cleanup = new Cleanup()
  cleanup.add('drivers', () => void closed.push('drivers'))
  onTestFinished(async () => void (await cleanup.run()))
  const parts: AgentParts = {
    ...usual,
    clock: systemClock,
    random: systemRandom,
    drivers: new Map(),
    files: openInstanceFiles(stateDir, usual.log),
    residue: openResidue(stateDir),
    ports: createPorts(),
    readings: kernelReadings(),
    paths: [stateDir],
    control: null,
    cleanup,
    ...change,
  }
  return { parts, said, closed }
}

test('a runtime that cannot be watched is told, and neither it nor the others are left out', async () => {
  const [blind, fine] = [
    createFakeDriver({ clock: systemClock }).driver,
    createFakeDriver({ clock: systemClock, runtime: 'process' }).driver,
  ]
  blind.watch = () => Promise.reject(new Error('no more watches'))
  const { parts, said } = await partsOf({
    drivers: new Map([
      ['fake', blind],
      ['process', fine],
    ]),
  })
  const agent = await runAgent(parts)
  if (!agent.ok) throw new Error(agent.error.detail)
  expect(said()).toContain('error runtime cannot be watched')
  expect(agent.value.health().runtimes).toMatchObject([{ usable: true }, { usable: true }])
  await agent.value.close()
})

test('an agent whose start meets a bug closes what was opened for it', async () => {
  const { parts, closed } = await partsOf()
  const bug = () => Promise.reject(new Error('a bug'))
  await expect(runAgent({ ...parts, files: { ...parts.files, load: bug } })).rejects.toThrow('a bug')
  expect(closed).toEqual(['drivers'])
})
