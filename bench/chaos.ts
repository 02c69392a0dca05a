// The same faults from the same seed, one arm after the other. Processes: nobody, a shell loop, Holdfast, and Holdfast with one guard taken out.
// Containers on an engine of the test: nobody, the engine's --restart=always, Holdfast, and Holdfast with one guard taken out.
//   npm run bench -- chaos [scenario=random-kills] [instances=20] [faults=60] [every-ms=500] [seed=1] [arms]
// Arms: nothing,loop,holdfast,without and, with HOLDFAST_DOCKER_SOCKET and HOLDFAST_CHAOS_IMAGE (an image that has perl; the engine of
// tools/test-services.sh has holdfast-test/perl:1), docker-nothing,docker-always,docker-holdfast,docker-without. Default: all that can run.
// The raw ledgers go to bench/results/. An arm that cannot bring anything back is watched for a short while only: each of its faults is
// censored, and said to be.
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock, systemRandom } from '../src/base/system.ts'
import { SCENARIOS } from '../src/cli/chaos/catalog.ts'
import { type Host, holdfastHost } from '../src/cli/chaos/host.ts'
import { type Outcome, play } from '../src/cli/chaos/play.ts'
import { agreementText, summaryText } from '../src/cli/chaos/summary.ts'
import type { Runtime } from '../src/contracts/spec.ts'
import { engineHost } from './support/engine-host.ts'
import { loopHost } from './support/loop-host.ts'
import { publish } from './support/machine.ts'
import { startPlatform } from './support/platform.ts'
import { GUARDS, treeWithout } from './support/without.ts'

const [name = 'random-kills', instances = '20', faults = '60', everyMs = '500', seed = '1', wished] = process.argv.slice(2)
const scenario = SCENARIOS.find((one) => one.name === name)
if (!scenario) throw new Error(`no scenario ${name}: ${SCENARIOS.map((one) => one.name).join(', ')}`)
const results = resolve(import.meta.dirname, 'results')
mkdirSync(results, { recursive: true })
const socket = process.env.HOLDFAST_DOCKER_SOCKET
const image = process.env.HOLDFAST_CHAOS_IMAGE
const guardOf = (runtime: Runtime) =>
  name.startsWith('hang') ? GUARDS.dataLoss : runtime === 'docker' ? GUARDS.engineEvents : GUARDS.exitEvents

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
    csvFile: join(results, `chaos-${name}-${arm}-${seed}.csv`),
    ledgerFile: join(results, `chaos-${name}-${arm}-${seed}.json`),
    note: async (line) => void process.stdout.write(`${line}\n`),
    options: {
      instances: Number(instances),
      // What dies stays dead there, so there are no more victims than instances.
      faults: isNobody(arm) ? Math.min(Number(faults), Number(instances)) : Number(faults),
      everyMs: Number(everyMs),
      // Nobody is there to bring anything back; a short watch shows that as well as a long one.
      watchMs: isNobody(arm) ? 10_000 : 120_000,
      warmUpMs: isNobody(arm) ? 0 : 12_000,
      launch: arm.startsWith('docker-') ? { runtime: 'docker', image: image ?? '' } : {},
      parts: { pid: () => null, fillDir: null, listen: null, to: null },
    },
  })
  if (!played.ok) throw new Error(`${arm}: ${played.error.detail}`)
  process.stdout.write(`-- ${arm}\n${summaryText(played.value.summary)}\n${agreementText(played.value.agreement)}\n`)
  return played.value
}

async function onHoldfast(arm: string, runtime: Runtime, bin?: string): Promise<Outcome> {
  const platform = await startPlatform(socket === undefined ? {} : { HOLDFAST_DOCKER_SOCKET: socket }, bin)
  try {
    return await run(arm, holdfastHost(platform.client, runtime), platform)
  } finally {
    await platform.stop()
  }
}

async function withoutGuard(arm: string, runtime: Runtime): Promise<Outcome> {
  const copy = await treeWithout(guardOf(runtime))
  try {
    return await onHoldfast(arm, runtime, copy.bin)
  } finally {
    await copy.remove()
  }
}

const isNobody = (arm: string) => arm.endsWith('nothing')

function onEngine(restart: 'always' | 'no'): Host {
  if (socket === undefined || image === undefined)
    throw new Error('an arm of containers needs HOLDFAST_DOCKER_SOCKET and HOLDFAST_CHAOS_IMAGE')
  return engineHost({ socket, image, restart })
}

const ARMS: Readonly<Record<string, () => Promise<Outcome>>> = {
  nothing: () => run('nothing', loopHost(false), null),
  loop: () => run('loop', loopHost(true), null),
  holdfast: () => onHoldfast('holdfast', 'process'),
  without: () => withoutGuard('without', 'process'),
  'docker-nothing': () => run('docker-nothing', onEngine('no'), null),
  'docker-always': () => run('docker-always', onEngine('always'), null),
  'docker-holdfast': () => onHoldfast('docker-holdfast', 'docker'),
  'docker-without': () => withoutGuard('docker-without', 'docker'),
}
const TITLES: Readonly<Record<string, string>> = {
  nothing: 'nothing',
  loop: 'a shell loop each',
  holdfast: 'Holdfast',
  without: `Holdfast without: ${guardOf('process').name}`,
  'docker-nothing': 'containers, nothing',
  'docker-always': 'containers, --restart=always',
  'docker-holdfast': 'containers, Holdfast',
  'docker-without': `containers, Holdfast without: ${guardOf('docker').name}`,
}

const canContain = socket !== undefined && image !== undefined
const arms = wished?.split(',') ?? Object.keys(ARMS).filter((arm) => canContain || !arm.startsWith('docker-'))
const rows: Record<string, unknown>[] = []
for (const arm of arms) {
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
      why_later: `${one.whyLaterNamed}/${one.whyLaterAsked}`,
    })
}
publish(`chaos ${name}, seed ${seed}, milliseconds`, rows)
