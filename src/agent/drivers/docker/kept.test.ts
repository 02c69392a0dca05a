// What the driver keeps in files decides which containers are its own. A file that is there and cannot be read, or is not what was written,
// says nothing: above all not that there is none.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { dockerDriverOn } from '../../../../tests/support/docker-driver.ts'
import { type FakeEngine, fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { newId } from '../../../contracts/ids.ts'
import type { Driver, Target } from '../driver.ts'
import { InstanceFiles } from './files.ts'

const STATE_ID = '0123456789abcdef'
const forever = new AbortController().signal

interface World {
  readonly fake: FakeEngine
  readonly driver: Driver
  readonly stateDir: string
  readonly stateFile: string
  readonly target: Target
  /** The engine's own id of the only container, if somebody has renamed it. */
  renamed(containerId: string): void
  keep(handle: string): void
}

async function world(): Promise<World> {
  const fake = await fakeEngine()
  fake.on('GET /info', json(200, { ServerVersion: '27.0', MemoryLimit: true, OSType: 'linux' }))
  fake.on('GET /containers/*', json(404, { message: 'no such container' }))
  fake.on('GET /containers/json', json(200, []))
  const stateDir = await tmpDir()
  const stateFile = join(stateDir, 'docker-state-id')
  writeFileSync(stateFile, `${STATE_ID}\n`)
  const driver = await dockerDriverOn(fake, { stateDir })
  const target = { id: newId.instance(systemClock, systemRandom), incarnation: 1, nonce: 'nonce' }
  const Labels = {
    'holdfast.io/node': 'n1',
    'holdfast.io/state': STATE_ID,
    'holdfast.io/instance': target.id,
    'holdfast.io/incarnation': '1',
    'holdfast.io/nonce': 'nonce',
  }
  const State = {
    Status: 'exited',
    Running: false,
    Paused: false,
    Pid: 0,
    ExitCode: 0,
    StartedAt: '2026-01-01T00:00:00Z',
    FinishedAt: '2026-01-01T00:00:01Z',
  }
  return {
    fake,
    driver,
    stateDir,
    stateFile,
    target,
    renamed(containerId) {
      fake.on('GET /containers/json', json(200, [{ Id: containerId, Labels }]))
      fake.on(`GET /containers/${containerId}/json`, json(200, { Id: containerId, Name: '/other', State, Config: { Labels } }))
    },
    keep(handle) {
      const file = join(stateDir, 'instances', target.id, 'run', '1', 'handle.json')
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, handle)
    },
  }
}

test('an identity that is there and not what was written is no new one: nothing is listed, nothing written, and the runtime says why', async () => {
  const { driver, stateFile } = await world()
  writeFileSync(stateFile, '\0\0\0\0')
  expect(await driver.list(forever)).toMatchObject({ ok: false, error: { code: 'file_error' } })
  const status = await driver.status(forever)
  expect(status).toMatchObject({ usable: false, version: '27.0' })
  expect(status.detail).toContain(stateFile)
  expect(status.fix).toContain('holdfast.io/state')
  expect(readFileSync(stateFile, 'latin1')).toBe('\0\0\0\0')
  writeFileSync(stateFile, `${STATE_ID}\n`)
  expect(await driver.status(forever)).toMatchObject({ usable: true, fix: null })
  expect(await driver.list(forever)).toEqual({ ok: true, value: { complete: true, seen: [] } })
})

test('nor is one that cannot be read; only one that is absent is made', async () => {
  const { driver, stateFile } = await world()
  rmSync(stateFile)
  mkdirSync(stateFile)
  expect(await driver.list(forever)).toMatchObject({ ok: false, error: { code: 'file_error', detail: expect.stringContaining('EISDIR') } })
  expect(await driver.status(forever)).toMatchObject({ usable: false })
  rmSync(stateFile, { recursive: true })
  expect(await driver.status(forever)).toMatchObject({ usable: true })
  expect(existsSync(stateFile), 'asking for the status makes none').toBe(false)
  expect(await driver.list(forever)).toMatchObject({ ok: true })
  expect(readFileSync(stateFile, 'utf8')).toMatch(/^[0-9a-z]{16}\n$/)
})

test('a renamed container whose handle cannot be read is neither ours nor a copy: the listing is not complete', async () => {
  const { driver, target, renamed, keep } = await world()
  renamed('c0ffee')
  keep('{"container')
  expect(await driver.list(forever)).toEqual({ ok: true, value: { complete: false, seen: [] } })
  expect(await driver.inspect(target.id, forever)).toMatchObject({ ok: false })
  expect(await driver.stop(target, { signal: 'SIGTERM', graceMs: 0 }, forever)).toMatchObject({ ok: false, error: { code: 'file_error' } })
  keep('{"containerId":"c0ffee"}')
  expect(await driver.list(forever)).toMatchObject({ ok: true, value: { complete: true, seen: [{ matches: true }] } })
})

test('an unreadable handle of a container that the engine does not have holds up no removal', async () => {
  const { driver, target, keep } = await world()
  keep('')
  expect(await driver.remove(target, forever)).toMatchObject({ ok: true })
})

test('saved output that cannot be read is not taken for output that was never kept', async () => {
  const { stateDir, target } = await world()
  const files = new InstanceFiles(stateDir, systemRandom)
  expect(await files.readSaved(target, 'stdout')).toEqual({ ok: true, value: null })
  mkdirSync(join(files.runDir(target), 'stdout'), { recursive: true })
  expect(await files.readSaved(target, 'stdout')).toMatchObject({ ok: false, error: { code: 'file_error' } })
})
