// An install for chaos: control plane and agent as real processes, each under a supervisor that starts it again, and the runner against it.
import { type ChildProcess, spawn } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { expect } from 'vitest'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { SCENARIOS } from '../../src/cli/chaos/catalog.ts'
import { type Host, holdfastHost } from '../../src/cli/chaos/host.ts'
import { type Outcome, play } from '../../src/cli/chaos/play.ts'
import type { PartName, Parts } from '../../src/cli/chaos/scenario.ts'
import { createClient } from '../../src/client/client.ts'
import type { InstanceInput, Runtime } from '../../src/contracts/spec.ts'
import { runId } from './run.ts'
import { ownTmpDir } from './tmp.ts'
import { waitFor } from './wait.ts'

const BIN = resolve(import.meta.dirname, '../../bin/holdfast.js')
/** Starts it again a second after its end, as systemd would; keeps its pid in a file. */
const SUPERVISOR =
  'end() { kill $child; wait $child; exit; }; trap end TERM; while :; do "$@" & child=$!; echo $child > "$0"; wait $child; sleep 1; done'

export interface ChaosInstall extends AsyncDisposable {
  readonly dataDir: string
  /** Where the control plane listens. */
  readonly control: string
  readonly host: Host
  run(name: string, given?: Given): Promise<Outcome>
}

export interface Given {
  readonly instances?: number
  readonly faults?: number
  readonly everyMs?: number
  readonly warmUpMs?: number
  readonly parts?: Partial<Parts>
}

export interface InstallOptions {
  readonly runtime: Runtime
  readonly launch?: Partial<InstanceInput>
  /** For the agent; told where the data directory is. */
  readonly environment?: (dataDir: string) => Readonly<Record<string, string>>
  /** Before anything is started there. */
  readonly before?: (dataDir: string) => Promise<void>
  /** What the agent dials instead of the control plane: nobody listens there before a scenario does. */
  readonly through?: string
  readonly pid?: (part: PartName) => number | null
}

export async function chaosInstall(options: InstallOptions): Promise<ChaosInstall> {
  const made = await ownTmpDir()
  const supervisors: ChildProcess[] = []
  const end = async () => {
    // The agent first: it has no workloads left, each scenario deletes its own.
    for (const child of supervisors.reverse()) {
      child.kill('SIGTERM')
      await waitFor(() => child.exitCode !== null || child.signalCode !== null, { what: 'a supervisor ended', deadlineMs: 30_000 })
    }
    await made[Symbol.asyncDispose]()
  }
  try {
    return { ...(await startInstall(options, made.path, supervisors)), [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}

/** What it starts it puts into `supervisors`, also where it throws. */
async function startInstall(
  options: InstallOptions,
  dataDir: string,
  supervisors: ChildProcess[],
): Promise<Omit<ChaosInstall, typeof Symbol.asyncDispose>> {
  await options.before?.(dataDir)
  const log = openSync(join(dataDir, 'holdfast.log'), 'a')
  const environment = { ...options.environment?.(dataDir), HOLDFAST_NODE_ID: nodeId(), HOLDFAST_NODE_PRESSURE_CPU: '1' }
  const supervised = (name: string, words: readonly string[]) =>
    supervisors.push(
      spawn('sh', ['-c', SUPERVISOR, join(dataDir, `${name}.pid`), process.execPath, BIN, ...words], {
        stdio: ['ignore', 'ignore', name === 'agent' ? log : 'ignore'],
        env: { ...process.env, ...environment },
      }),
    )
  const control = `127.0.0.1:${await freePort()}`
  const metrics = { url: `http://127.0.0.1:${await freePort()}`, token: null }
  supervised('server', ['server', '--data-dir', dataDir, '--listen', control])
  const token = await waitFor(() => readFileSync(join(dataDir, 'operator.token'), 'utf8').trim(), { what: 'a token', deadlineMs: 120_000 })
  const client = createClient({ url: `http://${control}`, token, clock: systemClock, random: systemRandom })
  await waitFor(async () => (await client.call('health', {})).ok, { what: 'the control plane answers', deadlineMs: 60_000 })
  const dialled = `http://${options.through ?? control}`
  const state = ['--token-file', join(dataDir, 'agent.token'), '--state-dir', join(dataDir, 'agent')]
  supervised('agent', ['agent', '--control', dialled, ...state, '--listen', new URL(metrics.url).host])
  const host = holdfastHost(client, options.runtime)
  if (options.through === undefined) await waitFor(() => host.whole(), { what: 'the node is connected', deadlineMs: 60_000 })
  return {
    dataDir,
    control,
    host,
    async run(name, { instances = 2, faults = 2, everyMs = 300, warmUpMs = 0, parts } = {}) {
      const scenario = SCENARIOS.find((one) => one.name === name)
      if (!scenario) throw new Error(`no scenario ${name}`)
      const played = await play({
        host,
        scenario,
        clock: systemClock,
        seed: Math.floor(systemRandom.fraction() * 2 ** 31),
        run: systemRandom.text(6),
        metrics,
        dataDir,
        ledgerFile: null,
        csvFile: null,
        note: async (line) => void process.stdout.write(`${line}\n`),
        options: {
          instances,
          faults,
          everyMs,
          warmUpMs,
          watchMs: 90_000,
          launch: { runtime: options.runtime, ...options.launch },
          parts: {
            pid: (part) => options.pid?.(part) ?? pidIn(join(dataDir, FILES[part] ?? 'none')),
            fillDir: null,
            listen: null,
            to: null,
            ...parts,
          },
        },
      })
      if (!played.ok) throw new Error(`${name}: ${played.error.detail}`)
      return played.value
    },
  }
}

/** The run's own mark in it: containers left behind are recognised by it. */
const nodeId = (): string => `chaos-${runId()}`.toLowerCase()

const FILES: Readonly<Partial<Record<PartName, string>>> = {
  agent: 'agent.pid',
  control: 'server.pid',
  postgres: 'postgres/cluster/postmaster.pid',
}

function pidIn(file: string): number | null {
  try {
    const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
    return pid > 1 ? pid : null
  } catch {
    return null
  }
}

export function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** Everything got as well as it has to, nothing was done to what was well, and nobody was called an orphan who is none. */
export function expectHealed({ summary, agreement }: Outcome, groups: readonly string[]): void {
  expect(summary.groups.map(({ group }) => group).sort()).toEqual([...groups].sort())
  for (const { group, faults, recovered } of summary.groups) expect({ group, recovered }).toEqual({ group, recovered: faults })
  expect(summary.falseActions).toBe(0)
  expect(agreement.log?.falseOrphans).toBe(0)
}

/** Log lines and metrics say what the oracle saw. Not after a kill of the agent, which counts from zero then. */
export function expectAgreement({ agreement: { oracle, metrics, log } }: Outcome): void {
  expect(metrics).toEqual(oracle)
  expect(log).toMatchObject(oracle)
}

/** Each time it was asked, the first line of `why` named the cause. */
export function expectNamed({ summary }: Outcome): void {
  for (const { group, whyAsked, whyNamed } of summary.groups) expect({ group, whyNamed }).toEqual({ group, whyNamed: whyAsked })
}
