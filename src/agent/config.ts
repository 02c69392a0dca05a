// Compiled configuration of the agent: nothing optional, base units. Built from holdfast.config.toml by the command line.
import type { GcConfig } from '../contracts/gc-config.ts'
import type { ReliabilityConfig } from '../contracts/reliability.ts'

export interface AgentConfig {
  readonly reliability: ReliabilityConfig
  readonly gc: GcConfig
  /** Kept for the machine itself, in bytes. */
  readonly reservedMemoryBytes: number
  /** Share of physical memory kept free beyond that, 0..1. */
  readonly safetyBufferRatio: number
  readonly cpuOvercommit: number
  /** New instances are refused above these ratios (0..1). */
  readonly thresholds: { readonly cpu: number; readonly memory: number; readonly disk: number }
}
