// Every scenario, in the order of `chaos list`.
import { busyCpu, lag, logFlood, massWishes } from './controls.ts'
import { hang, hangRestart } from './hangs.ts'
import { crashLoop, killDuringRecovery, massKill, midCreate } from './kills.ts'
import { partition } from './partition.ts'
import { engineMidCreate, PART_SCENARIOS } from './parts.ts'
import { randomKills } from './random-kills.ts'
import { fullDisk, memoryPressure } from './resources.ts'
import type { Scenario } from './scenario.ts'
import { brokenSocket } from './sockets.ts'

export const SCENARIOS: readonly Scenario[] = [
  randomKills,
  killDuringRecovery,
  massKill,
  midCreate,
  crashLoop,
  hang,
  hangRestart,
  ...PART_SCENARIOS,
  engineMidCreate,
  memoryPressure,
  fullDisk,
  partition,
  brokenSocket,
  busyCpu,
  lag,
  logFlood,
  massWishes,
]
