import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { readFirstFile, type TarEntry, writeTar } from './tar.ts'

const file = (path: string, content: string | Uint8Array, more: Partial<TarEntry> = {}): TarEntry => ({
  path,
  kind: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeMs: 1_700_000_000_000,
  content: Buffer.from(content),
  ...more,
})

test('the system`s tar reads what is written: long and non-ASCII names, modes, empty and large content', async () => {
  const dir = await tmpDir()
  const long = `${'directory-of-some-length/'.repeat(8)}name`
  const entries = [
    file('a', 'hello', { mode: 0o600 }),
    file('d', '', { kind: 'directory', mode: 0o700 }),
    file('d/empty', ''),
    file(long, 'long'),
    file('ünïcödé ☃', 'snow'),
    file('block', Buffer.alloc(512, 'x')),
    file('big', Buffer.alloc(100_001, 'y')),
  ]
  writeFileSync(join(dir, 't.tar'), writeTar(entries))
  mkdirSync(join(dir, 'out'))
  execFileSync('tar', ['-xf', join(dir, 't.tar'), '-C', join(dir, 'out'), '--no-same-owner'])
  const read = (path: string) => readFileSync(join(dir, 'out', path), 'utf8')
  expect([read('a'), read('d/empty'), read(long), read('ünïcödé ☃'), read('block').length, read('big').length]).toEqual([
    'hello',
    '',
    'long',
    'snow',
    512,
    100_001,
  ])
  expect([statSync(join(dir, 'out/a')).mode & 0o777, statSync(join(dir, 'out/d')).mode & 0o777]).toEqual([0o600, 0o700])
})

test('what the system`s tar writes is read: the first regular file, after directories and links', async () => {
  const dir = await tmpDir()
  mkdirSync(join(dir, 'x'))
  writeFileSync(join(dir, 'x/f'), 'content', { mode: 0o640 })
  const archive = execFileSync('tar', ['-c', '-C', dir, '--owner=:123', '--group=:456', 'x'])
  const found = readFirstFile(archive)
  expect([found?.content.toString(), found?.mode, found?.uid, found?.gid]).toEqual(['content', 0o640, 123, 456])
})

test('written and read back: any bytes, any mode, ids of 21 bits', () => {
  const bits = fc.nat({ max: 0o7777 })
  const id = fc.nat({ max: 0o7777777 })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), bits, id, id, (content, mode, uid, gid) => {
      const found = readFirstFile(writeTar([file('d', '', { kind: 'directory' }), file('f', content, { mode, uid, gid })]))
      expect([found?.mode, found?.uid, found?.gid]).toEqual([mode, uid, gid])
      return Buffer.from(content).equals(found?.content ?? Buffer.alloc(0))
    }),
  )
})

test('cut off anywhere it gives nothing or the whole file, never a part', () => {
  const whole = writeTar([file('f', 'x'.repeat(700))])
  for (let size = 0; size < whole.length; size += 64) {
    const found = readFirstFile(whole.subarray(0, size))
    expect(found === undefined || found.content.length === 700).toBe(true)
  }
})
