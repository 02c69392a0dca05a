import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { fileFailure, removeDir, sweepRemoved, writeAtomic } from './files.ts'

const OK = { ok: true, value: undefined }

describe('files', () => {
  test('a file is replaced whole, private, and nothing is left beside it', async () => {
    const dir = await tmpDir()
    const path = join(dir, 'spec.json')
    expect(await writeAtomic(path, 'a long first content')).toEqual(OK)
    expect(await writeAtomic(path, new Uint8Array([0x62]))).toEqual(OK)
    expect(readFileSync(path, 'utf8')).toBe('b')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(dir)).toEqual(['spec.json'])
  })

  test('what a crash left of an earlier write is replaced', async () => {
    const dir = await tmpDir()
    writeFileSync(join(dir, 'f.tmp'), 'half of something longer')
    expect(await writeAtomic(join(dir, 'f'), 'whole')).toEqual(OK)
    expect(readFileSync(join(dir, 'f'), 'utf8')).toBe('whole')
    expect(readdirSync(dir)).toEqual(['f'])
  })

  test('a link planted at the temporary name is not followed', async () => {
    const dir = await tmpDir()
    writeFileSync(join(dir, 'victim'), 'untouched')
    symlinkSync(join(dir, 'victim'), join(dir, 'f.tmp'))
    expect(await writeAtomic(join(dir, 'f'), 'x')).toMatchObject({ ok: false, error: { code: 'file_error', fields: { errno: 'ELOOP' } } })
    expect(readFileSync(join(dir, 'victim'), 'utf8')).toBe('untouched')
  })

  test('a failed write keeps the old content, leaves nothing and names path and errno', async () => {
    const dir = await tmpDir()
    mkdirSync(join(dir, 'f'))
    expect(await writeAtomic(join(dir, 'f'), 'x')).toMatchObject({
      ok: false,
      error: { code: 'file_error', fields: { errno: 'EISDIR', path: join(dir, 'f') } },
    })
    expect(readdirSync(dir)).toEqual(['f'])
    expect(await writeAtomic(join(dir, 'no', 'f'), 'x')).toMatchObject({
      ok: false,
      error: { code: 'file_error', fields: { errno: 'ENOENT' } },
    })
  })

  test('a directory is removed with all it holds; a missing one is ok', async () => {
    const dir = await tmpDir()
    mkdirSync(join(dir, 'inst', 'logs'), { recursive: true })
    writeFileSync(join(dir, 'inst', 'logs', 'a'), 'x')
    expect(await removeDir(join(dir, 'inst'))).toEqual(OK)
    expect(readdirSync(dir)).toEqual([])
    expect(await removeDir(join(dir, 'inst'))).toEqual(OK)
  })

  test('a removal that a crash interrupted is finished by the sweep, and by the next removal', async () => {
    const dir = await tmpDir()
    mkdirSync(join(dir, 'a.removed', 'deep'), { recursive: true })
    mkdirSync(join(dir, 'b.removed', 'deep'), { recursive: true })
    mkdirSync(join(dir, 'a'))
    expect(await removeDir(join(dir, 'a'))).toEqual(OK)
    expect(readdirSync(dir)).toEqual(['b.removed'])
    mkdirSync(join(dir, 'c'))
    expect(await sweepRemoved(dir)).toEqual(OK)
    expect(readdirSync(dir)).toEqual(['c'])
    expect(await sweepRemoved(join(dir, 'none'))).toEqual(OK)
    expect(existsSync(join(dir, 'none'))).toBe(false)
  })

  test('a full disk or quota is disk_full; what has no errno keeps its cause', () => {
    for (const code of ['ENOSPC', 'EDQUOT']) expect(fileFailure(Object.assign(new Error('x'), { code }), '/f').code).toBe('disk_full')
    const cause = new Error('odd')
    expect(fileFailure(cause, '/f')).toMatchObject({ code: 'file_error', fields: { errno: 'unknown' }, cause })
  })
})
