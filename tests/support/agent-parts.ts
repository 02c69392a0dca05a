// What every agent in a test is given alike: who it is, what it says and counts, and a configuration in which nothing is scarce.
import type { AgentParts } from '../../src/agent/assemble.ts'
import { DEFAULT_GC } from '../../src/contracts/gc-config.ts'
import { NodeId } from '../../src/contracts/ids.ts'
import { DEFAULT_RELIABILITY, type ReliabilityConfig } from '../../src/contracts/reliability.ts'
import type { TelemetryLogger } from '../../src/telemetry/logger.ts'
import { RecordingLog } from './recording-log.ts'

export function usualAgentParts(reliability: ReliabilityConfig = DEFAULT_RELIABILITY) {
  const recorded = new RecordingLog()
  const log: TelemetryLogger = Object.assign(recorded, { child: () => log })
  const usual = {
    nodeId: NodeId.parse('node-a'),
    bootId: 'boot',
    hostname: 'test',
    os: 'linux x64',
    nodeLabels: {},
    log,
    meter: { count() {}, observe() {}, gauge() {} },
    config: {
      reliability,
      gc: DEFAULT_GC,
      reservedMemoryBytes: 0,
      safetyBufferRatio: 0,
      cpuOvercommit: 1,
      thresholds: { cpu: 1, memory: 1, disk: 1 },
    },
  } satisfies Partial<AgentParts>
  return { usual, said: () => recorded.said() }
}
