import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { desired, ID } from '../../../tests/support/agent-world.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { openJournal } from '../journal/journal.ts'
import { newRecord } from '../model/record.ts'
import { openInstanceFiles } from './files.ts'

const OTHER = InstanceId.parse('inst_00000000000000000002')

test('one journal that cannot be read is named, and does not keep the agent from looking after the others', async () => {
  const dir = await tmpDir()
  const told: string[] = []
  const log = { debug() {}, info() {}, warn() {}, error: (msg: string) => void told.push(msg) }
  expect(await openInstanceFiles(dir, log).append(ID, { record: newRecord(desired(), 1), transitions: [] })).toMatchObject({ ok: true })
  await mkdir(join(dir, 'instances', OTHER, 'journal'), { recursive: true })
  const loaded = await openInstanceFiles(dir, log).load()
  expect(loaded).toMatchObject({ ok: true, value: [{ last: { record: { desired: { id: ID } } } }] })
  expect(told).toContain('instance journal not read')
})

test('lines that this version does not understand are told; the last one it does understand counts', async () => {
  const dir = await tmpDir()
  const told: string[] = []
  const log = { debug() {}, info() {}, warn() {}, error: (msg: string) => void told.push(msg) }
  const record = newRecord(desired(), 1)
  await openInstanceFiles(dir, log).append(ID, { record, transitions: [] })
  expect(await openJournal(join(dir, 'instances', ID, 'journal')).append({ record: 'of another shape' })).toMatchObject({ ok: true })
  expect(await openInstanceFiles(dir, log).load()).toMatchObject({ ok: true, value: [{ last: { record } }] })
  expect(told).toEqual(['journal lines not understood'])
})

test('what an agent left that ended in its first write is removed; what may have had an effect is reported and kept', async () => {
  const dir = await tmpDir()
  const told: unknown[] = []
  const log = { debug() {}, info() {}, warn() {}, error: (_: string, fields: unknown) => void told.push(fields) }
  const of = (digit: number) => InstanceId.parse(`inst_0000000000000000000${digit}`)
  const left: readonly (readonly [number, Readonly<Record<string, string>>])[] = [
    [1, {}],
    [2, { journal: '' }],
    [3, { journal: '0000abcd {"rec' }],
    [4, { journal: 'a line that was whole once\n' }],
    [5, { journal: '0000', 'state.json': '{}' }],
  ]
  for (const [digit, files] of left) {
    await mkdir(join(dir, 'instances', of(digit)), { recursive: true })
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, 'instances', of(digit), name), text)
  }
  expect(await openInstanceFiles(dir, log).load()).toEqual({ ok: true, value: [] })
  expect(told).toEqual([{ instance_id: of(4) }, { instance_id: of(5) }])
  expect((await readdir(join(dir, 'instances'))).sort()).toEqual([of(4), of(5)])
})
