import { networkInterfaces } from 'node:os'
import { expect, onTestFinished, test } from 'vitest'
import { mayRead, servePulse } from './pulse.ts'

async function pulse(status: string, metrics = async () => 'holdfast_x 1\n', failed = (_: unknown) => {}) {
  const served = await servePulse(
    { host: '127.0.0.1', port: 0 },
    { token: 'secret', metrics, health: () => ({ status, detail: 'd' }), failed },
  )
  if (!served.ok) throw new Error(served.error.detail)
  onTestFinished(() => served.value.close())
  return served.value
}

test('it serves metrics and health, and nothing else', async () => {
  const { url } = await pulse('healthy')
  expect(await (await fetch(`${url}/metrics`)).text()).toBe('holdfast_x 1\n')
  expect(await (await fetch(`${url}/health`)).json()).toEqual({ status: 'healthy', checks: { agent: { status: 'healthy', detail: 'd' } } })
  expect((await fetch(`${url}/other`)).status).toBe(404)
  expect((await fetch(`${url}/health`, { method: 'POST' })).status).toBe(405)
})

test('a port in use is named', async () => {
  const { url } = await pulse('healthy')
  const again = await servePulse(
    { host: '127.0.0.1', port: Number(URL.parse(url)?.port) },
    { token: 'secret', metrics: async () => '', health: () => ({ status: '', detail: '' }), failed: () => {} },
  )
  expect(again).toMatchObject({ ok: false, error: { code: 'port_in_use' } })
})

test('metrics that cannot be made are an error to whoever asks, and told to us', async () => {
  const told: unknown[] = []
  const bug = new Error('no metrics today')
  const { url } = await pulse(
    'healthy',
    () => Promise.reject(bug),
    (error) => void told.push(error),
  )
  expect((await fetch(`${url}/metrics`)).status).toBe(500)
  expect(told).toEqual([bug])
})

test.each([
  ['127.0.0.1', undefined, true],
  ['::ffff:127.0.0.1', undefined, true],
  ['::1', undefined, true],
  ['10.0.0.7', undefined, false],
  ['10.0.0.7', 'Bearer secret', true],
  ['10.0.0.7', 'bearer secret', true],
  ['10.0.0.7', 'Bearer secre', false],
  ['10.0.0.7', 'Basic secret', false],
  ['::ffff:10.127.0.1', undefined, false],
  [undefined, undefined, false],
])('metrics: from %s with %s: %s', (address, authorization, allowed) => {
  expect(mayRead(address, authorization, 'secret')).toBe(allowed)
})

test('an empty token opens nothing', () => {
  expect(mayRead('10.0.0.7', 'Bearer ', '')).toBe(false)
})

test('beyond loopback the metrics need the token of the agent, health needs none', async (context) => {
  const own = Object.values(networkInterfaces()).flatMap((some) => some ?? [])
  const outer = own.find(({ internal, family }) => !internal && family === 'IPv4')
  if (outer === undefined) return context.skip('this machine has no address but loopback')
  const served = await servePulse(
    { host: '0.0.0.0', port: 0 },
    { token: 'secret', metrics: async () => 'holdfast_x 1\n', health: () => ({ status: 'healthy', detail: '' }), failed: () => {} },
  )
  if (!served.ok) throw new Error(served.error.detail)
  onTestFinished(() => served.value.close())
  const url = `http://${outer.address}:${URL.parse(served.value.url)?.port}`
  const refused = await fetch(`${url}/metrics`)
  expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
  expect((await fetch(`${url}/metrics`, { headers: { authorization: 'Bearer secret' } })).status).toBe(200)
  expect((await fetch(`${url}/health`)).status).toBe(200)
})
