import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { must } from '../../tests/support/stores.ts'
import { systemRandom } from '../base/system.ts'
import { bootMark, type IdentitySources, nodeIdentity } from './identity.ts'

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-identity-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const sources = (change: Partial<IdentitySources> = {}): IdentitySources => ({
  given: [undefined, undefined],
  hostname: () => 'Box_1',
  machineId: () => '3d1219c7c4c54e1f9a3b5c7d9e1f2a3b\n',
  interfaces: () => [
    { name: 'lo', mac: '00:00:00:00:00:00', internal: true },
    { name: 'tun0', mac: '00:00:00:00:00:00', internal: false },
    { name: 'eth0', mac: '02:42:ac:11:00:02', internal: false },
  ],
  ...change,
})

test('C59: a given id is used, HOLDFAST_NODE_ID first; auto and empty derive; a bad one is refused by name', async () => {
  expect(await nodeIdentity(dir, sources({ given: ['edge-1', 'other'] }))).toEqual({ ok: true, value: 'edge-1' })
  expect(await nodeIdentity(dir, sources({ given: [undefined, 'persys-7'] }))).toEqual({ ok: true, value: 'persys-7' })
  for (const bad of ['has space', 'UPPER', '-x', 'x\ny', 'a'.repeat(64)]) {
    expect(await nodeIdentity(dir, sources({ given: [bad] }))).toMatchObject({
      ok: false,
      error: { code: 'invalid_config', fields: { field: 'HOLDFAST_NODE_ID' } },
    })
  }
  const derived = await nodeIdentity(dir, sources({ given: ['auto', ''] }))
  expect(derived).toMatchObject({ ok: true, value: expect.stringMatching(/^box-1-[0-9a-f]{12}$/) })
})

test('each start of an agent has a mark of its own that tells its state directory', async () => {
  const mark = async (stateDir: string) => must(await bootMark(stateDir, systemRandom))
  const [first, second, other] = [await mark(dir), await mark(dir), await mark(join(dir, 'other'))]
  expect(first).toMatch(/^[0-9a-z]{16}\.[0-9a-z]{20}$/)
  expect(second).not.toBe(first)
  expect(second.split('.')[0]).toBe(first.split('.')[0])
  expect(other.split('.')[0]).not.toBe(first.split('.')[0])
})

test('the machine-id is hashed, never shown', async () => {
  const derived = await nodeIdentity(dir, sources())
  expect(derived.ok && derived.value).not.toContain('3d1219c7c4c5')
})

test('C60: without machine-id the first interface that has a MAC counts, and the id is stable over restarts and a new hostname', async () => {
  const first = await nodeIdentity(dir, sources({ machineId: () => null }))
  expect(first.ok).toBe(true)
  const kept = await readFile(join(dir, 'node-id'), 'utf8')
  const again = await nodeIdentity(dir, sources({ machineId: () => null, hostname: () => 'renamed', interfaces: () => [] }))
  expect(again).toEqual(first)
  expect(kept.trim()).toBe(first.ok && first.value)
})

test('with nothing to derive from, the error says what to set', async () => {
  expect(await nodeIdentity(dir, sources({ machineId: () => null, interfaces: () => [] }))).toMatchObject({
    ok: false,
    error: { code: 'invalid_config', detail: expect.stringContaining('HOLDFAST_NODE_ID') },
  })
})
