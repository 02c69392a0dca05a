// One scenario against one host, from its launch to its figures. Everything it launched is deleted at the end, however it ends.
import { writeFile } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import { ok, type Result } from '../../base/result.ts'
import { seededRandom } from '../../base/seeded-random.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Host } from './host.ts'
import { downMs, unexplained } from './ledger.ts'
import { Rig } from './rig.ts'
import type { Scenario, ScenarioOptions } from './scenario.ts'
import { type Agreement, type Summary, summarise } from './summary.ts'
import { summaryCsv } from './summary-csv.ts'
import { countOf, falseOrphans, logFiles, logLines, readCounters, type Steps, stepsOf } from './testimony.ts'

export interface Play {
  readonly host: Host
  readonly scenario: Scenario
  readonly options: ScenarioOptions
  readonly clock: Clock
  readonly seed: number
  readonly run: string
  /** Where Holdfast's own words are read; null: nowhere. */
  readonly metrics: { readonly url: string; readonly token: string | null } | null
  readonly dataDir: string | null
  /** Where the raw ledger goes. */
  readonly ledgerFile: string | null
  /** Where the figures go, as a table. */
  readonly csvFile: string | null
  readonly note: (line: string) => Promise<void>
}

export interface Outcome {
  readonly summary: Summary
  readonly agreement: Agreement
}

const LAUNCH_WITHIN_MS = 90_000
/** Verification takes a second, and the words about it a moment. */
const SETTLE_MS = 2500

export async function play(given: Play): Promise<Result<Outcome, Failure>> {
  const { clock, scenario, options, host, note } = given
  const random = seededRandom(given.seed)
  const rig = new Rig({ host, clock, random, run: given.run, launchWithinMs: LAUNCH_WITHIN_MS, note })
  const sinceWallMs = clock.wallMs()
  const before = given.metrics && (await readCounters(given.metrics.url, given.metrics.token))
  await note(`${scenario.name}: ${options.instances} instances, ${options.faults} faults, seed ${given.seed}`)
  try {
    const done = await scenario.run(rig, options)
    if (!done.ok) return done
    const untilMs = clock.elapsedMs()
    await clock.sleep(SETTLE_MS)
    const after = given.metrics && (await readCounters(given.metrics.url, given.metrics.token))
    const ids = new Set(rig.targets.map(({ id }) => id))
    const lines = given.dataDir === null ? null : logLines(logFiles(given.dataDir), sinceWallMs, ids)
    const steps = new Map<number, Steps>()
    for (const fault of rig.faults) {
      const own = lines && fault.expects === 'recovery' ? stepsOf(fault, lines) : null
      if (own) steps.set(fault.number, own)
    }
    const outages = [...rig.oracle.outages, ...rig.oracle.open()]
    const odd = unexplained(outages, rig.faults)
    for (const fault of rig.faults) fault.downMs = downMs(fault, outages, untilMs)
    const watchedMs = untilMs - rig.countFromMs
    const summary = summarise({ faults: rig.faults, unexplained: odd, steps, instances: options.instances, watchedMs, random })
    const orphans = rig.faults.filter((fault) => fault.orphans)
    const recovered = orphans.filter(({ expects, recoveredMs }) => expects === 'recovery' && recoveredMs !== null)
    const agreement: Agreement = {
      oracle: { orphaned: orphans.length, successes: recovered.length },
      metrics: before && after && { orphaned: after.orphaned - before.orphaned, successes: after.successes - before.successes },
      log: lines && {
        orphaned: countOf(lines, 'orphaned vm detected'),
        successes: countOf(lines, 'vm recovery successful'),
        falseOrphans: falseOrphans(lines, rig.faults),
      },
    }
    if (given.ledgerFile !== null) {
      const faults = rig.faults.map((fault) => ({ ...fault, steps: steps.get(fault.number) ?? null }))
      const whole = {
        scenario: scenario.name,
        seed: given.seed,
        run: given.run,
        watchedMs,
        summary,
        agreement,
        unexplained: odd,
        faults,
        outages,
      }
      await writeFile(given.ledgerFile, `${JSON.stringify(whole)}\n`)
    }
    if (given.csvFile !== null)
      await writeFile(given.csvFile, summaryCsv({ scenario: scenario.name, run: given.run, seed: given.seed }, summary))
    return ok({ summary, agreement })
  } finally {
    await rig.clean()
  }
}
