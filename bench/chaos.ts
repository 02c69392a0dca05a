// The same faults from the same seed, one arm after the other: nobody, a shell loop, Holdfast, and Holdfast with one guard taken out.
//   npm run bench -- chaos [scenario=random-kills] [instances=20] [faults=60] [every-ms=500] [seed] [arms=nothing,loop,holdfast,without]
// The raw ledgers go to bench/results/. An arm that cannot bring anything back is watched for a short while only: each of its faults is
// censored, and said to be.
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock, systemRandom } from '../src/base/system.ts'
import { SCENARIOS } from '../src/cli/chaos/catalog.ts'
import { type Host, holdfastHost } from '../src/cli/chaos/host.ts'
import { type Outcome, play } from '../src/cli/chaos/play.ts'
import { agreementText, summaryText } from '../src/cli/chaos/summary.ts'
import { loopHost } from './support/loop-host.ts'
import { publish } from './support/machine.ts'
import { startPlatform } from './support/platform.ts'
import { GUARDS, treeWithout } from './support/without.ts'

const [name = 'random-kills', instances = '20', faults = '60', everyMs = '500', seed = '1', arms = 'nothing,loop,holdfast,without'] =
  process.argv.slice(2)
const scenario = SCENARIOS.find((one) => one.name === name)
if (!scenario) throw new Error(`no scenario ${name}: ${SCENARIOS.map((one) => one.name).join(', ')}`)
const results = resolve(import.meta.dirname, 'results')
mkdirSync(results, { recursive: true })
const guard = name.startsWith('hang') ? GUARDS.dataLoss : GUARDS.exitEvents

async function run(arm: string, host: Host, given: { url: string; token: string; dataDir: string } | null): Promise<Outcome> {
  if (!scenario) throw new Error('no scenario')
  const played = await play({
    host,
    scenario,
    clock: systemClock,
    seed: Number(seed),
    run: systemRandom.text(6),
    metrics: given,
    dataDir: given?.dataDir ?? null,
    ledgerFile: join(results, `chaos-${name}-${arm}-${seed}.json`),
    note: async (line) => void process.stdout.write(`${line}\n`),
    options: {
      instances: Number(instances),
      // What dies stays dead there, so there are no more victims than instances.
      faults: arm === 'nothing' ? Math.min(Number(faults), Number(instances)) : Number(faults),
      everyMs: Number(everyMs),
      // Nobody is there to bring anything back; a short watch shows that as well as a long one.
      watchMs: arm === 'nothing' ? 10_000 : 120_000,
      warmUpMs: arm === 'nothing' ? 0 : 12_000,
      launch: {},
      parts: { pid: () => null, fillDir: null, listen: null, to: null },
    },
  })
  if (!played.ok) throw new Error(`${arm}: ${played.error.detail}`)
  process.stdout.write(`-- ${arm}\n${summaryText(played.value.summary)}\n${agreementText(played.value.agreement)}\n`)
  return played.value
}

async function onHoldfast(arm: string, bin?: string): Promise<Outcome> {
  const platform = await startPlatform({}, bin)
  try {
    return await run(arm, holdfastHost(platform.client), platform)
  } finally {
    await platform.stop()
  }
}

async function withoutGuard(): Promise<Outcome> {
  const copy = await treeWithout(guard)
  try {
    return await onHoldfast('without', copy.bin)
  } finally {
    await copy.remove()
  }
}

const ARMS: Readonly<Record<string, () => Promise<Outcome>>> = {
  nothing: () => run('nothing', loopHost(false), null),
  loop: () => run('loop', loopHost(true), null),
  holdfast: () => onHoldfast('holdfast'),
  without: withoutGuard,
}
const TITLES: Readonly<Record<string, string>> = {
  nothing: 'nothing',
  loop: 'a shell loop each',
  holdfast: 'Holdfast',
  without: `Holdfast without: ${guard.name}`,
}

const rows: Record<string, unknown>[] = []
for (const arm of arms.split(',')) {
  const outcome = await ARMS[arm]?.()
  if (!outcome) throw new Error(`no arm ${arm}`)
  const { summary } = outcome
  for (const one of summary.groups)
    rows.push({
      arm: TITLES[arm],
      group: one.group,
      faults: one.faults,
      recovered: one.recovered,
      rate_at_least: Math.round(1e5 * one.rateAtLeast) / 1e5,
      mean_ms: Math.round(one.recovery?.mean ?? Number.NaN),
      p95_ms: Math.round(one.recovery?.p95 ?? Number.NaN),
      max_ms: Math.round(one.recovery?.max ?? Number.NaN),
      orphaned_percent: Math.round(1e6 * summary.orphanedShare) / 1e4,
      false_actions: summary.falseActions,
      why: `${one.whyNamed}/${one.whyAsked}`,
    })
}
publish(`chaos ${name}, seed ${seed}, milliseconds`, rows)
