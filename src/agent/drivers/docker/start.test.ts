import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dockerDriverOn, wantedContainer } from '../../../../tests/support/docker-driver.ts'
import { fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { ManualClock } from '../../../../tests/support/manual-clock.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { waitFor } from '../../../../tests/support/wait.ts'

/** An engine that holds back every answer about the incarnation before until `cleared` is called, as one that still takes it down. */
async function clearingUp(incarnation: number) {
  const fake = await fakeEngine()
  const clock = new ManualClock()
  const stateDir = await tmpDir()
  const driver = await dockerDriverOn(fake, { clock, stateDir })
  const want = wantedContainer(incarnation)
  let labels = {}
  const held: (() => void)[] = []
  fake.on('POST /containers/create', (request, response, body) => {
    labels = JSON.parse(body).Labels
    json(201, { Id: 'new' })(request, response, body)
  })
  fake.on('POST /containers/new/start', json(204, {}))
  fake.on('GET /containers/json', json(200, []))
  fake.on(`GET /containers/holdfast-${want.id}-${incarnation}/json`, (request, response, body) => {
    const State = {
      Status: 'running',
      Running: true,
      Paused: false,
      Pid: 2 ** 22 + 7,
      ExitCode: 0,
      StartedAt: '2026-01-01T00:00:00Z',
      FinishedAt: '0001-01-01T00:00:00Z',
    }
    json(200, { Id: 'new', Name: `/holdfast-${want.id}-${incarnation}`, State, Config: { Labels: labels } })(request, response, body)
  })
  fake.on(`GET /containers/holdfast-${want.id}-${incarnation - 1}/json`, (request, response, body) => {
    held.push(() => json(500, { message: 'any answer will do' })(request, response, body))
  })
  const asked = (request: string) => fake.requests.includes(request)
  const start = driver.start(want, new AbortController().signal)
  /** All is done but the start itself, and the engine has had the time to hear of that. */
  const readyToStart = async () => {
    const handle = join(stateDir, 'instances', want.id, 'run', String(incarnation), 'handle.json')
    await waitFor(() => existsSync(handle) && held.length > 0, { what: 'made, and the one before asked for', deadlineMs: 5000 })
    for (let rounds = 0; rounds < 5; rounds += 1) await driver.status(new AbortController().signal)
  }
  return { clock, start, readyToStart, held, started: () => asked('POST /containers/new/start') }
}

test('a container is made while the engine clears up after the one before, and started when it has', async () => {
  const { start, readyToStart, held, started } = await clearingUp(2)
  await readyToStart()
  expect(started()).toBe(false)
  for (const answer of held) answer()
  expect(await start).toMatchObject({ ok: true, value: { state: 'running' } })
  expect(started()).toBe(true)
})

test('an engine that never says it has cleared up delays a start by a second and no more', async () => {
  const { clock, start, readyToStart, started } = await clearingUp(2)
  await readyToStart()
  await clock.advance(999)
  expect(started()).toBe(false)
  await clock.advance(1)
  await waitFor(started, { what: 'the start', deadlineMs: 5000 })
  expect((await start).ok).toBe(true)
})

test('the first incarnation has nothing before it to wait for', async () => {
  const { start, held } = await clearingUp(1)
  expect((await start).ok).toBe(true)
  expect(held).toEqual([])
})
