import { readFileSync } from 'node:fs'
import path from 'node:path'
import { OK, ok, type Result } from '../../base/result.ts'
import type { Client } from '../../client/client.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Parts } from '../chaos/scenario.ts'
import { EXIT } from '../exit.ts'
import { duration, type FlagValues, flag, oneOf, text, whole } from '../flags.ts'
import { table } from '../render/table.ts'
import { connect } from '../session.ts'
import { clientSettings, findDataDir } from '../settings.ts'
import { usage, verb } from '../verb.ts'

const flags = {
  confirmed: flag('--yes-break-things', 'say that this install is for tests and may be harmed'),
  instances: whole('--instances <n>', 'how many instances to launch (default: as the scenario has it)', 1, 2000),
  faults: whole('--faults <n>', 'how many faults (default: as the scenario has it)', 1, 100_000),
  every: duration('--every <time>', 'mean time between two faults (default: as the scenario has it)'),
  watch: duration('--watch <time>', 'how long a recovery is waited for (default: as the scenario has it)'),
  warmUp: duration('--warm-up <time>', 'faults of this time count in no figure (default 12s)'),
  seed: whole('--seed <n>', 'makes the same choices again', 0, 2 ** 31),
  ledger: text('--ledger <file>', 'write the raw ledger there, as JSON'),
  csv: text('--csv <file>', 'write the figures there, as a table'),
  runtime: oneOf('--runtime <runtime>', 'what runs the victims (default process)', ['process', 'docker']),
  image: text('--image <image>', 'their image, which must have perl, as Debian ones do (with --runtime docker)'),
  agentPid: text('--agent-pid <pid>', 'the agent may be harmed: its pid, or a file that holds it'),
  controlPid: text('--control-pid <pid>', 'the same for the control plane'),
  postgresPid: text('--postgres-pid <pid>', 'the same for PostgreSQL'),
  dockerdPid: text('--dockerd-pid <pid>', 'the same for a Docker Engine of the test'),
  fill: text('--fill <dir>', 'a directory on a small file system of the test that may be filled up'),
  listen: text('--proxy-listen <place>', 'host:port or path of a socket where the fault proxy listens, which the agent was told to dial'),
  to: text('--proxy-to <place>', 'host:port or path of a socket that the fault proxy passes on to'),
} as const

export const chaos = verb({
  name: 'chaos',
  args: '<scenario>',
  group: 'Operate',
  summary: 'Harm an install for tests and judge how it heals',
  more: [
    'Launches instances of its own, harms only these and the parts named by flags, judges by what the instances answer through their ports,',
    'and deletes them. Refused where anybody else has an instance. Examples:',
    '  holdfast chaos list',
    '  holdfast chaos random-kills --yes-break-things --instances 20 --faults 100 --ledger ledger.json',
  ].join('\n'),
  missing: 'holdfast chaos list',
  flags,
  async run({ core, out, args: [name = ''], flags: given }) {
    const { SCENARIOS } = await import('../chaos/catalog.ts')
    const scenario = SCENARIOS.find((one) => one.name === name)
    if (!scenario) return usage(`There is no scenario ${name}; holdfast chaos list names them.`)
    if (!given.confirmed) return usage('Chaos breaks things. If this install is for tests, add --yes-break-things.', 'yes-break-things')
    if (given.runtime === 'docker' && given.image === undefined) return usage('--runtime docker needs --image.', 'image')
    const settings = clientSettings(core, given)
    const client = await connect({ core, flags: given })
    if (!settings.ok) return settings
    if (!client.ok) return client
    const alone = await refuseForeign(client.value)
    if (!alone.ok) return alone
    const { holdfastHost } = await import('../chaos/host.ts')
    const { play } = await import('../chaos/play.ts')
    const { summaryText, agreementText } = await import('../chaos/summary.ts')
    const { usual } = scenario
    const played = await play({
      host: holdfastHost(client.value, given.runtime),
      scenario,
      clock: core.clock,
      seed: given.seed ?? Math.floor(core.random.fraction() * 2 ** 31),
      run: core.random.text(6),
      metrics: settings.value,
      dataDir: findDataDir(core, given.dataDir) ?? null,
      ledgerFile: given.ledger === undefined ? null : path.resolve(core.cwd, given.ledger),
      csvFile: given.csv === undefined ? null : path.resolve(core.cwd, given.csv),
      note: (line) => out.note(line),
      options: {
        instances: given.instances ?? usual.instances,
        faults: given.faults ?? usual.faults,
        everyMs: given.every ?? usual.everyMs,
        watchMs: given.watch ?? usual.watchMs,
        warmUpMs: given.warmUp ?? 12_000,
        launch: { ...(given.runtime && { runtime: given.runtime }), ...(given.image !== undefined && { image: given.image }) },
        parts: partsOf(given),
      },
    })
    if (!played.ok) return played
    const { summary, agreement } = played.value
    await out.value(played.value, () => `${summaryText(summary)}\n${agreementText(agreement)}`)
    const good = summary.falseActions === 0 && summary.groups.every(({ recovered, faults }) => recovered === faults)
    return ok(good ? EXIT.ok : EXIT.terminalFailure)
  },
})

export const chaosList = verb({
  name: 'chaos list',
  args: '',
  group: 'Operate',
  summary: 'The scenarios: what each does and needs',
  flags: {},
  async run({ out }) {
    const { SCENARIOS } = await import('../chaos/catalog.ts')
    const rows = SCENARIOS.map(({ name, does, needs, control }) => ({ name, does, needs, control }))
    await out.value({ scenarios: rows }, () =>
      table(
        rows,
        [
          { head: 'SCENARIO', cell: ({ name }) => name },
          { head: 'DOES', cell: ({ does, control }) => `${does}${control ? ' (must cause no action)' : ''}`, shrinksTo: 30 },
          { head: 'NEEDS', cell: ({ needs }) => needs, shrinksTo: 20 },
        ],
        out.columns,
        out.paint,
      ),
    )
    return ok(EXIT.ok)
  },
})

/** One instance of anybody else, even a stopped one, is a refusal. */
async function refuseForeign(client: Client): Promise<Result<void, Failure>> {
  const { CHAOS_LABEL } = await import('../chaos/workload.ts')
  const page = await client.call('listInstances', { query: { limit: 1, selector: `!${CHAOS_LABEL}` } })
  if (!page.ok) return page
  const [foreign] = page.value.items
  if (!foreign) return OK
  return usage(
    `Chaos was not started: this install has instances that chaos did not launch, such as ${foreign.name}. Give it an install of its own (--data-dir).`,
  )
}

function partsOf(given: FlagValues<typeof flags>): Parts {
  const words = { agent: given.agentPid, control: given.controlPid, postgres: given.postgresPid, dockerd: given.dockerdPid }
  return {
    pid: (part) => {
      const word = words[part]
      const pid = Number(word === undefined || /^\d+$/.test(word) ? word : readWord(word))
      return Number.isSafeInteger(pid) && pid > 1 ? pid : null
    },
    fillDir: given.fill ?? null,
    listen: given.listen ?? null,
    to: given.to ?? null,
  }
}

function readWord(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim().split('\n')[0] ?? ''
  } catch {
    return ''
  }
}
