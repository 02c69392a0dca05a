import { expect, onTestFinished, test } from 'vitest'
import { servePulse } from './pulse.ts'

async function pulse(status: string, metrics = async () => 'holdfast_x 1\n', failed = (_: unknown) => {}) {
  const served = await servePulse({ host: '127.0.0.1', port: 0 }, { metrics, health: () => ({ status, detail: 'd' }), failed })
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
    { metrics: async () => '', health: () => ({ status: '', detail: '' }), failed: () => {} },
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
