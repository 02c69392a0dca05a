import { mkdir, rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { bufferCore } from '../../../tests/support/cli.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { systemRandom } from '../../base/system.ts'
import { output } from '../output.ts'
import { runDown } from './down.ts'
import { agentStateDir, downMarker, takePlace } from './place.ts'

const take = (dir: string, verb: 'up' | 'agent' | 'server') => takePlace(dir, verb, process.pid, systemRandom)

test('T37: no second agent comes to the journals of an up, nor an up to those of an agent', async () => {
  const dir = await tmpDir()
  const up = await take(dir, 'up')
  if (!up.ok) throw new Error(up.error.detail)
  expect(await take(agentStateDir(dir), 'agent')).toMatchObject({
    ok: false,
    error: { code: 'data_dir_in_use', fields: { pid: process.pid } },
  })
  await up.value.leave()
  const agent = await take(agentStateDir(dir), 'agent')
  if (!agent.ok) throw new Error(agent.error.detail)
  expect(await take(dir, 'up')).toMatchObject({ ok: false, error: { code: 'data_dir_in_use' } })
  const server = await take(dir, 'server')
  if (!server.ok) throw new Error(server.error.detail)
  await server.value.leave()
  await agent.value.leave()
  const again = await take(dir, 'up')
  if (!again.ok) throw new Error(again.error.detail)
  await again.value.leave()
})

test('a place that could not be tidied is not kept locked', async () => {
  const dir = await tmpDir()
  await mkdir(downMarker(dir))
  for (const verb of ['up', 'server'] as const)
    expect(await take(dir, verb)).toMatchObject({ ok: false, error: { fields: { path: downMarker(dir) } } })
  await rm(downMarker(dir), { recursive: true })
  const taken = await take(dir, 'up')
  if (!taken.ok) throw new Error(taken.error.detail)
  await mkdir(downMarker(dir))
  await taken.value.leave()
  await rm(downMarker(dir), { recursive: true })
  const again = await take(dir, 'up')
  if (!again.ok) throw new Error(again.error.detail)
  await again.value.leave()
})

test('down leaves a directory alone that is none of ours', async () => {
  const dir = await tmpDir()
  const { core, out } = bufferCore()
  expect(await runDown(core, output(core, false), { dataDir: dir, timeoutMs: 1000 })).toEqual({ ok: true, value: 0 })
  expect(out()).toBe(`nothing to stop: ${dir} is no data directory of holdfast up\n`)
})
