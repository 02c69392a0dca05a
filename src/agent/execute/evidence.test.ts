// Evidence on a real disk: whole or not there, for its owner only, bounded, without secrets, and gone when it is dropped.
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { desiredOf } from '../../../tests/support/desired.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { must } from '../../../tests/support/stores.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { silentLogger } from '../../base/log.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'
import { newRecord } from '../model/record.ts'
import { keepEvidence, readEvidence } from './evidence.ts'
import { openEvidenceFiles } from './evidence-files.ts'
import { openResidue } from './residue.ts'

const signal = () => AbortSignal.timeout(10_000)
const clock = new ManualClock()
const SECRET = 'hunter2-not-to-be-kept'

/** An instance that ran so many incarnations, each of which printed its number many times over. */
async function lived(incarnations: number, bytes: number) {
  const { driver } = createFakeDriver({ clock })
  const desired = desiredOf()
  const spec = { ...desired.spec, runtime: 'fake' as const, env: { PASSWORD: SECRET }, userData: SECRET }
  for (let incarnation = 1; incarnation <= incarnations; incarnation += 1) {
    const out = Buffer.alloc(bytes, String(incarnation)).toString('base64')
    const want = { id: desired.id, incarnation, nonce: `n${incarnation}`, name: 'web', labels: {}, hostPorts: [], platformEnv: {} }
    must(await driver.start({ ...want, spec: { ...spec, command: ['fake', 'print', out, ''] } }, signal()))
  }
  const lastError = { code: 'process_dead' as const, detail: 'It ended.', atMs: 1 }
  const record = { ...newRecord({ ...desired, spec }, 1), incarnation: incarnations }
  return { driver, record: { ...record, phase: { ...record.phase, lastError } }, id: desired.id }
}

async function kept(incarnations = 5, bytes = 100_000) {
  const dir = await tmpDir()
  const files = openEvidenceFiles(dir)
  const world = await lived(incarnations, bytes)
  await keepEvidence({ clock, log: silentLogger, files, limits: { evidenceDeadlineMs: 5000 } }, world.driver, world.record, signal())
  return { dir, files, ...world }
}

test('the last 64 KiB of the last three incarnations and the typed error are kept, for the owner only, without a secret', async () => {
  const { dir, files, id } = await kept()
  const found = must(await files.read(id))
  expect(found?.outputs.map(({ incarnation, stdout }) => [incarnation, stdout.length, String.fromCharCode(stdout[0] ?? 0)])).toEqual([
    [3, 65_536, '3'],
    [4, 65_536, '4'],
    [5, 65_536, '5'],
  ])
  expect(found).toMatchObject({ name: 'web', lastError: { code: 'process_dead' } })
  const place = join(dir, 'evidence', id)
  expect(statSync(place).mode & 0o777).toBe(0o700)
  for (const name of readdirSync(place)) {
    expect(statSync(join(place, name)).mode & 0o777).toBe(0o600)
    expect(readFileSync(join(place, name), 'latin1')).not.toContain(SECRET)
  }
  expect(must(await files.list())).toMatchObject([{ id, savedAtMs: clock.wallMs() }])
})

test('its last output and the one before are read as those of a living instance; more there is not', async () => {
  const { files, id } = await kept(2, 10)
  const read = async (previous: boolean, tailLines: number | null = null) => {
    let said = ''
    const done = await readEvidence(files, id, { previous, tailLines, sinceMs: null }, ({ data }) => {
      said += Buffer.from(data).toString()
    })
    return done.ok ? said : done.error.code
  }
  expect([await read(false), await read(true), await read(false, 0)]).toEqual(['2222222222', '1111111111', ''])
  must(await files.drop(id))
  expect([await read(false), must(await files.list()).length]).toEqual(['not_found', 0])
  must(await files.drop(id))
})

test('what a crash left half written is nothing, and goes', async () => {
  const { dir, files, id } = await kept(1, 10)
  await mkdir(join(dir, 'evidence', `${id}.new`))
  await mkdir(join(dir, 'evidence', `${id}.removed`))
  expect(must(await files.list())).toHaveLength(1)
  expect(readdirSync(join(dir, 'evidence'))).toEqual([id])
})

test('output kept by drivers is found with size and age, and discarded by incarnation; the journal beside it stays', async () => {
  const dir = await tmpDir()
  const { keptLogs, untold } = openResidue(dir)
  const { id } = desiredOf()
  const runs = join(dir, 'instances', id, 'run')
  for (const run of ['1', '2', 'odd']) await mkdir(join(runs, run, 'logs'), { recursive: true })
  writeFileSync(join(runs, '1', 'logs', 'stdout'), 'abc')
  utimesSync(join(runs, '1', 'logs', 'stdout'), 100, 100)
  writeFileSync(join(dir, 'instances', id, 'journal'), 'x')
  const found = must(await keptLogs.list())
  expect(found.toSorted((a, b) => a.incarnation - b.incarnation)).toMatchObject([
    { id, incarnation: 1, bytes: 3, atMs: 100_000 },
    { id, incarnation: 2, bytes: 0 },
  ])
  for (const incarnation of [1, 1, 2]) must(await keptLogs.discard(id, incarnation))
  expect(readdirSync(runs)).toEqual(['odd'])
  expect(readdirSync(join(dir, 'instances', id))).toContain('journal')
  const item = {
    key: 'k',
    kind: 'logs',
    reason: 'expired',
    id,
    incarnation: 1,
    runtime: null,
    detail: '',
    ageMs: 1,
    bytes: 1,
    atMs: 1,
  } as const
  must(await untold.save([item]))
  expect(must(await untold.load())).toEqual([item])
  writeFileSync(join(dir, 'collected.json'), '{torn')
  expect(must(await untold.load())).toEqual([])
})
