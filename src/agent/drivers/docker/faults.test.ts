import { describe, expect, test } from 'vitest'
import { dockerDriverOn, wantedContainer } from '../../../../tests/support/docker-driver.ts'
import { type FakeEngine, fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { ManualClock } from '../../../../tests/support/manual-clock.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import type { Result } from '../../../base/result.ts'
import type { Failure } from '../../../contracts/errors.ts'
import type { DriverEvent } from '../driver.ts'

const signal = () => new AbortController().signal
const codeOf = (result: Result<unknown, Failure>) => (result.ok ? 'ok' : result.error.code)

/** Just enough of an engine to make, start, describe, list and remove containers. */
function containers(fake: FakeEngine) {
  const made = new Map<string, { Id: string; Name: string; running: boolean; Labels: Record<string, string> }>()
  const find = (url: string) => [...made.values()].find((one) => url.includes(one.Id) || url.includes(one.Name))
  let serial = 0
  const create = (url: string, body: string) => {
    const Name = new URL(url, 'http://x').searchParams.get('name') ?? ''
    if (find(Name)) return undefined
    serial += 1
    const one = { Id: `id${serial}x`, Name, running: false, Labels: JSON.parse(body).Labels }
    made.set(one.Id, one)
    return one
  }
  fake.on('POST /containers/*', (request, response, body) => {
    const one = find(request.url ?? '')
    if (one) one.running = true
    json(one ? 204 : 404, {})(request, response, body)
  })
  fake.on('POST /containers/create', (request, response, body) => {
    const one = create(request.url ?? '', body)
    json(one ? 201 : 409, one ? { Id: one.Id } : { message: 'taken' })(request, response, body)
  })
  fake.on('DELETE /containers/*', (request, response, body) => {
    made.delete(find(request.url ?? '')?.Id ?? '')
    json(204, {})(request, response, body)
  })
  fake.on('GET /containers/json', (request, response, body) =>
    json(
      200,
      [...made.values()].map(({ Id, Labels }) => ({ Id, Labels })),
    )(request, response, body),
  )
  fake.on('GET /containers/id*', (request, response, body) => describeOne(request.url ?? '')(request, response, body))
  fake.on('GET /containers/holdfast-*', (request, response, body) => describeOne(request.url ?? '')(request, response, body))
  const describeOne = (url: string) => {
    const one = find(url)
    if (!one) return json(404, { message: 'none' })
    const State = {
      Status: one.running ? 'running' : 'created',
      Running: one.running,
      Paused: false,
      Pid: one.running ? 2 ** 22 + 7 : 0,
      ExitCode: 0,
      StartedAt: '2026-01-01T00:00:00Z',
      FinishedAt: '0001-01-01T00:00:00Z',
    }
    return json(200, { Id: one.Id, Name: `/${one.Name}`, State, Config: { Labels: one.Labels } })
  }
  return { made, create }
}

describe('a daemon that dies in the middle of a create', () => {
  test('says unreachable, and the next start neither doubles the container nor trusts the half-made one', async () => {
    const fake = await fakeEngine()
    const world = containers(fake)
    const driver = await dockerDriverOn(fake)
    const wanted = wantedContainer()
    let deaths = 0
    fake.on('POST /containers/create', (request, response, body) => {
      const one = world.create(request.url ?? '', body)
      deaths += 1
      if (deaths === 1) return void response.socket?.destroy()
      json(one ? 201 : 409, one ? { Id: one.Id } : { message: 'taken' })(request, response, body)
    })
    expect(codeOf(await driver.start(wanted, signal()))).toBe('runtime_unreachable')
    expect([...world.made.keys()]).toEqual(['id1x'])
    const started = await driver.start(wanted, signal())
    expect(started.ok && started.value.state).toBe('running')
    expect([...world.made.keys()]).toEqual(['id2x'])
  })

  test('T18, C43: a start that fails takes back what it made', async () => {
    const fake = await fakeEngine()
    const world = containers(fake)
    fake.on('POST /containers/id1x/start', json(500, { message: 'driver failed' }))
    const driver = await dockerDriverOn(fake)
    expect(codeOf(await driver.start(wantedContainer(), signal()))).toBe('start_failed')
    expect(world.made.size).toBe(0)
  })

  test('C54: a container of the same name that somebody else made is neither started nor removed', async () => {
    const fake = await fakeEngine()
    const world = containers(fake)
    const driver = await dockerDriverOn(fake)
    const wanted = wantedContainer()
    world.create(`/containers/create?name=holdfast-${wanted.id}-1`, JSON.stringify({ Labels: {} }))
    expect(codeOf(await driver.start(wanted, signal()))).toBe('start_failed')
    expect([...world.made.values()].map((one) => one.running)).toEqual([false])
  })
})

describe('unreachable is never missing', () => {
  test.each(['removed', 'left'] as const)(
    'C53: a dead daemon (socket file %s) fails every question and empties none',
    async (socketFile) => {
      const fake = await fakeEngine()
      containers(fake)
      const driver = await dockerDriverOn(fake)
      const wanted = wantedContainer()
      expect(codeOf(await driver.start(wanted, signal()))).toBe('ok')
      await fake.die(socketFile)
      const results = await Promise.all([
        driver.list(signal()),
        driver.inspect(wanted.id, signal()),
        driver.stop(wanted, { signal: 'SIGTERM', graceMs: 10 }, signal()),
        driver.remove(wanted, signal()),
        driver.probe(wanted, signal()),
      ])
      expect(results.map(codeOf)).toEqual(Array(5).fill('runtime_unreachable'))
      expect((await driver.status(signal())).usable).toBe(false)
      await fake.revive()
      expect(await driver.list(signal())).toMatchObject({ ok: true, value: { complete: true, seen: [{ state: 'running' }] } })
    },
  )

  test('one container that cannot be described makes the listing incomplete, hides no other, and fails its own inspect', async () => {
    const fake = await fakeEngine()
    containers(fake)
    const driver = await dockerDriverOn(fake)
    const [one, two] = [wantedContainer(), wantedContainer()]
    for (const wanted of [one, two]) await driver.start(wanted, signal())
    fake.on('GET /containers/id1x/json', json(500, { message: 'busy' }))
    const listing = await driver.list(signal())
    expect(listing.ok && [listing.value.complete, listing.value.seen.map((seen) => seen.id)]).toEqual([false, [two.id]])
    expect(codeOf(await driver.inspect(one.id, signal()))).toBe('runtime_error')
  })

  test('one that was removed between listing and looking is simply not there', async () => {
    const fake = await fakeEngine()
    containers(fake)
    const driver = await dockerDriverOn(fake)
    await driver.start(wantedContainer(), signal())
    fake.on('GET /containers/id1x/json', json(404, { message: 'none' }))
    expect(await driver.list(signal())).toEqual({ ok: true, value: { complete: true, seen: [] } })
  })
})

describe('the event stream', () => {
  async function watched() {
    const fake = await fakeEngine()
    const clock = new ManualClock()
    const streams: { write(line: string): void; destroy(): void }[] = []
    fake.on('GET /events', (_, response) => {
      response.writeHead(200)
      response.flushHeaders()
      streams.push({ write: (line) => void response.write(line), destroy: () => void response.socket?.destroy() })
    })
    const driver = await dockerDriverOn(fake, { clock })
    const events: DriverEvent[] = []
    await driver.watch((event) => events.push(event))
    /** Time passes until it is so: what the daemon does takes real time, what we wait for is on the clock. */
    const until = (what: string, so: () => unknown) =>
      waitFor(
        async () => {
          if (so()) return true
          await clock.advance(250)
          return so()
        },
        { what, deadlineMs: 10_000, everyMs: 2 },
      )
    const runtime = () => events.filter((event) => event.kind === 'runtime').map((event) => event.reachable)
    return { fake, clock, streams, driver, events, until, runtime }
  }
  const die = (id: string) =>
    `${JSON.stringify({ Type: 'container', Action: 'die', Actor: { ID: 'c1', Attributes: { 'holdfast.io/instance': id, 'holdfast.io/incarnation': '1', 'holdfast.io/nonce': 'n' } } })}\n`

  test('watch returns connected, and an event is told with its time', async () => {
    const { streams, events, clock, until, runtime } = await watched()
    expect(runtime()).toEqual([true])
    const { id } = wantedContainer()
    streams[0]?.write(die(id))
    await until('the event is told', () => events.length > 1)
    expect(events[1]).toMatchObject({ kind: 'instance', id, what: 'exit' })
    expect(clock.wallMs() - (events[1]?.kind === 'instance' ? events[1].receivedAtMs : 0)).toBeLessThan(1000)
  })

  test('fact: a connect proves nothing. A daemon that hangs, its stream open and silent, is unreachable after one unanswered ping', async () => {
    const { fake, until, runtime } = await watched()
    fake.hang(true)
    await until('unreachable', () => runtime().length > 1)
    expect(runtime()).toEqual([true, false])
    fake.hang(false)
    await until('reachable again', () => runtime().length > 2)
    expect(runtime()).toEqual([true, false, true])
  })

  test('a daemon that is quiet but answers pings stays reachable', async () => {
    const { fake, clock, until, runtime } = await watched()
    const pings = () => fake.requests.filter((one) => one.includes('_ping')).length
    const before = pings()
    await until('several pings', () => pings() > before + 4)
    expect(runtime()).toEqual([true])
    expect(clock.elapsedMs()).toBeGreaterThan(10_000)
  })

  test('a stream that breaks, and a daemon that comes back: said once each, so that everything is listed again', async () => {
    const { fake, clock, streams, until, runtime } = await watched()
    await fake.die('left')
    await until('unreachable', () => runtime().length > 1)
    const sinceMs = clock.elapsedMs()
    await until('it has tried for a while', () => clock.elapsedMs() > sinceMs + 20_000)
    await fake.revive()
    await until('reachable', () => runtime().length > 2)
    expect(runtime()).toEqual([true, false, true])
    expect(streams.length).toBe(2)
  })

  test('a daemon that talks nonsense is left and asked again', async () => {
    const { streams, until, runtime } = await watched()
    streams[0]?.write('<html>\n')
    await until('reachable again', () => runtime().length > 2)
    expect(runtime()).toEqual([true, false, true])
  })

  test('an end is told with its exit only for the container of our name: one made from our image carries our labels too', async () => {
    const { streams, events, until } = await watched()
    const { id } = wantedContainer()
    const end = (attributes: object) => {
      const event = JSON.parse(die(id))
      return `${JSON.stringify({ ...event, Actor: { ID: 'c1', Attributes: { ...event.Actor.Attributes, exitCode: '137', ...attributes } } })}\n`
    }
    streams[0]?.write(end({ name: 'a-copy' }) + end({ name: `holdfast-${id}-1` }))
    await until('both are told', () => events.filter((event) => event.kind === 'instance').length === 2)
    const ended = events.flatMap((event) => (event.kind === 'instance' ? [event.ended?.exit ?? null] : []))
    expect(ended).toMatchObject([null, { code: null, signal: 'SIGKILL', oom: false }])
  })

  test('events of containers that are not whole ours are not told', async () => {
    const { streams, events, until } = await watched()
    streams[0]?.write(die('inst_bad'))
    streams[0]?.write(die(wantedContainer().id))
    await until('the good one is told', () => events.some((event) => event.kind === 'instance'))
    expect(events.filter((event) => event.kind === 'instance')).toHaveLength(1)
  })

  test('T37: disposing ends the stream and every timer', async () => {
    const { driver, clock } = await watched()
    await driver[Symbol.asyncDispose]()
    expect(clock.timers).toBe(0)
  })
})

test('a log stream that breaks in the middle is a failure, not an end', async () => {
  const fake = await fakeEngine()
  containers(fake)
  const driver = await dockerDriverOn(fake)
  const wanted = wantedContainer()
  await driver.start(wanted, signal())
  fake.on('GET /containers/id1x/logs', (_, response) => {
    response.writeHead(200).write(Buffer.from([1, 0, 0, 0, 0, 0, 0, 90]))
    setImmediate(() => response.socket?.destroy())
  })
  const all = { follow: true, tailLines: null, sinceMs: null }
  expect(codeOf(await driver.logs(wanted, all, () => undefined, signal()))).toBe('runtime_unreachable')
})
