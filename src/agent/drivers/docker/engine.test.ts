import { writeFile } from 'node:fs/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { systemClock } from '../../../base/system.ts'
import { isBelow, pickVersion } from './api-version.ts'
import { Engine } from './engine.ts'
import { type EngineFault, failureOf } from './engine-fault.ts'

const Anything = z.unknown()
const signal = () => new AbortController().signal
const open = (socketPath: string) => {
  const engine = new Engine({ socketPath, clock: systemClock })
  onTestFinished(() => engine.close())
  return engine
}
const get = (path: string, deadlineMs = 2000) => ({ method: 'GET', path, deadlineMs }) as const
const faultOf = (result: { ok: boolean; error?: EngineFault }) => (result.ok || !result.error ? 'ok' : result.error.kind)
const codeOf = (result: { ok: boolean; error?: EngineFault }) => (result.ok || !result.error ? 'ok' : failureOf(result.error, 'do it').code)

describe('engine client: every way a daemon can be away is typed', () => {
  test('T08: no socket file: unavailable, with the command that installs it', async () => {
    const result = await open(`${await tmpDir()}/none.sock`).json(get('/info'), Anything, signal())
    expect([faultOf(result), codeOf(result)]).toEqual(['absent', 'runtime_unavailable'])
    expect(!result.ok && failureOf(result.error, 'x').detail).toContain('apt-get install -y docker.io')
  })
  test('T08: a socket file nobody listens on: unreachable', async () => {
    const fake = await fakeEngine()
    await fake.die('left')
    const result = await open(fake.socketPath).json(get('/info'), Anything, signal())
    expect([faultOf(result), codeOf(result)]).toEqual(['silent', 'runtime_unreachable'])
  })
  test('T08: a plain file in place of the socket: unreachable', async () => {
    const at = `${await tmpDir()}/plain`
    await writeFile(at, '')
    const result = await open(at).json(get('/info'), Anything, signal())
    expect([faultOf(result), codeOf(result)]).toEqual(['silent', 'runtime_unreachable'])
  })
  test('T08: a connect proves nothing: a daemon that accepts and does not answer is unreachable after the deadline', async () => {
    const fake = await fakeEngine()
    const engine = open(fake.socketPath)
    expect((await engine.ping(2000, signal())).ok).toBe(true)
    fake.hang(true)
    const begunMs = performance.now()
    const result = await engine.ping(100, signal())
    expect(codeOf(result)).toBe('runtime_unreachable')
    expect(performance.now() - begunMs).toBeLessThan(1500)
    fake.hang(false)
    expect((await engine.ping(2000, signal())).ok).toBe(true)
  })
  test('headers and then nothing: the deadline covers the body too', async () => {
    const fake = await fakeEngine()
    fake.on('GET /info', (_, response) => void response.writeHead(200).write('{'))
    expect(codeOf(await open(fake.socketPath).json(get('/info', 100), Anything, signal()))).toBe('runtime_unreachable')
  })
  test('a connection that breaks in the middle of an answer is unreachable, not half an answer', async () => {
    const fake = await fakeEngine()
    fake.on('GET /info', (_, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('{"a":')
      setImmediate(() => response.socket?.destroy())
    })
    expect(codeOf(await open(fake.socketPath).json(get('/info'), Anything, signal()))).toBe('runtime_unreachable')
  })
  test.each([
    ['not JSON', 'hello'],
    ['another shape', '{"ServerVersion":7}'],
  ])('an answer that is %s is an error of the runtime, not an outage', async (_, body) => {
    const fake = await fakeEngine()
    fake.on('GET /info', (_request, response) => void response.writeHead(200).end(body))
    const result = await open(fake.socketPath).json(get('/info'), z.object({ ServerVersion: z.string() }), signal())
    expect([faultOf(result), codeOf(result)]).toEqual(['malformed', 'runtime_error'])
  })
  test('a refusal carries the status and the sentence of the engine', async () => {
    const fake = await fakeEngine()
    fake.on('POST /containers/x/start', json(409, { message: 'it is so' }))
    const result = await open(fake.socketPath).call({ method: 'POST', path: '/containers/x/start' }, signal())
    expect(result).toEqual({ ok: false, error: { kind: 'status', status: 409, message: 'it is so' } })
  })
  test('our own caller giving up is cancelled, at once', async () => {
    const fake = await fakeEngine()
    fake.hang(true)
    const stop = new AbortController()
    const waiting = open(fake.socketPath).ping(60_000, stop.signal)
    stop.abort()
    expect(codeOf(await waiting)).toBe('cancelled')
  })
})

describe('API version', () => {
  test('the older of both is spoken, and versions compare as numbers', () => {
    expect(isBelow('1.9', '1.41')).toBe(true)
    expect(isBelow('2.0', '1.41')).toBe(false)
    expect(pickVersion('1.41', '1.47')).toBe('1.41')
    expect(pickVersion('1.99', '1.47')).toBe('1.47')
  })
  test('a daemon that is too old is refused by name', async () => {
    const fake = await fakeEngine('1.40')
    const result = await open(fake.socketPath).json(get('/info'), Anything, signal())
    expect([faultOf(result), codeOf(result)]).toEqual(['too-old', 'runtime_unavailable'])
  })
  test('agreed once, and again after an outage', async () => {
    const fake = await fakeEngine()
    fake.on('GET /info', json(200, {}))
    const engine = open(fake.socketPath)
    await Promise.all([1, 2, 3].map(() => engine.json(get('/info'), Anything, signal())))
    expect(fake.requests.filter((one) => one.includes('_ping'))).toHaveLength(1)
    engine.forgetVersion()
    await engine.json(get('/info'), Anything, signal())
    expect(fake.requests.filter((one) => one.includes('_ping'))).toHaveLength(2)
  })
  test('a failed agreement is not remembered, and one caller giving up does not fail another', async () => {
    const fake = await fakeEngine()
    fake.on('GET /info', json(200, {}))
    const engine = open(fake.socketPath)
    fake.hang(true)
    const stop = new AbortController()
    const one = engine.json(get('/info'), Anything, stop.signal)
    const two = engine.json(get('/info'), Anything, signal())
    fake.hang(false)
    stop.abort()
    expect([faultOf(await one), faultOf(await two)]).toEqual(['cancelled', 'ok'])
  })
})
