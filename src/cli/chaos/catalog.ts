// Every scenario, in the order of `chaos list`.
import { randomKills } from './random-kills.ts'
import type { Scenario } from './scenario.ts'

export const SCENARIOS: readonly Scenario[] = [randomKills]
