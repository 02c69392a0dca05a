import { expect, onTestFinished, test } from 'vitest'
import { RecordingLog } from '../../tests/support/recording-log.ts'
import { tmpDir } from '../../tests/support/tmp.ts'
import { Cleanup } from '../base/cleanup.ts'
import { systemClock, systemRandom } from '../base/system.ts'
import { DEFAULT_GC } from '../contracts/gc-config.ts'
import { NodeId } from '../contracts/ids.ts'
import { DEFAULT_RELIABILITY } from '../contracts/reliability.ts'
import type { TelemetryLogger } from '../telemetry/logger.ts'
import { type AgentParts, runAgent } from './assemble.ts'
import { createFakeDriver } from './drivers/fake/fake-driver.ts'
import { openInstanceFiles } from './execute/files.ts'
import { createPorts } from './execute/ports.ts'
import { openResidue } from './execute/residue.ts'
import { kernelReadings } from './monitor/readings.ts'

async function partsOf(change: Partial<AgentParts> = {}) {
  const log = new RecordingLog()
  const telemetryLog: TelemetryLogger = Object.assign(log, { child: () => telemetryLog })
  const stateDir = await tmpDir()
  const closed: string[] = []
  const cleanup = new Cleanup()
  cleanup.add('drivers', () => void closed.push('drivers'))
  onTestFinished(async () => void (await cleanup.run()))
  const parts: AgentParts = {
    nodeId: NodeId.parse('node-a'),
    bootId: 'boot',
    hostname: 'test',
    os: 'linux x64',
    nodeLabels: {},
    clock: systemClock,
    random: systemRandom,
    log: telemetryLog,
    meter: { count() {}, observe() {}, gauge() {} },
    config: {
      reliability: DEFAULT_RELIABILITY,
      gc: DEFAULT_GC,
      reservedMemoryBytes: 0,
      safetyBufferRatio: 0,
      cpuOvercommit: 1,
      thresholds: { cpu: 1, memory: 1, disk: 1 },
    },
    drivers: new Map(),
    files: openInstanceFiles(stateDir, telemetryLog),
    residue: openResidue(stateDir),
    ports: createPorts(),
    readings: kernelReadings(),
    paths: [stateDir],
    control: null,
    cleanup,
    ...change,
  }
  return { parts, log, closed }
}

test('a runtime that cannot be watched is told, and neither it nor the others are left out', async () => {
  const [blind, fine] = [
    createFakeDriver({ clock: systemClock }).driver,
    createFakeDriver({ clock: systemClock, runtime: 'process' }).driver,
  ]
  blind.watch = () => Promise.reject(new Error('no more watches'))
  const { parts, log } = await partsOf({
    drivers: new Map([
      ['fake', blind],
      ['process', fine],
    ]),
  })
  const agent = await runAgent(parts)
  if (!agent.ok) throw new Error(agent.error.detail)
  expect(log.said()).toContain('error runtime cannot be watched')
  expect(agent.value.health().runtimes).toMatchObject([{ usable: true }, { usable: true }])
  await agent.value.close()
})

test('an agent whose start meets a bug closes what was opened for it', async () => {
  const { parts, closed } = await partsOf()
  const bug = () => Promise.reject(new Error('a bug'))
  await expect(runAgent({ ...parts, files: { ...parts.files, load: bug } })).rejects.toThrow('a bug')
  expect(closed).toEqual(['drivers'])
})
