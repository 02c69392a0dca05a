import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { writeAtomic } from './files.ts'
import { openJournal, readJournalSync } from './journal.ts'

async function tinyDisk(): Promise<string> {
  const disk = join(await tmpDir(), 'disk')
  mkdirSync(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk])
  onTestFinished(() => void execFileSync('umount', [disk]))
  return disk
}

describeNeeds('root', 'a full disk', () => {
  test('an append that finds no room is disk_full; every acknowledged record stays, and it goes on when there is room', async () => {
    const disk = await tinyDisk()
    const path = join(disk, 'journal')
    writeFileSync(join(disk, 'ballast'), Buffer.alloc(20_000))
    const journal = openJournal(path)
    let acknowledged = 0
    for (;;) {
      const appended = await journal.append({ n: acknowledged, text: 'x'.repeat(1000) })
      if (!appended.ok) {
        expect(appended.error).toMatchObject({ code: 'disk_full', fields: { path, errno: 'ENOSPC' } })
        break
      }
      acknowledged += 1
      expect(acknowledged).toBeLessThan(100)
    }
    expect(acknowledged).toBeGreaterThan(10)
    const numbers = () => readJournalSync(path).map((record) => Object(record).n)
    expect(numbers()).toEqual(Array.from({ length: acknowledged }, (_, n) => n))
    expect((await journal.append({ n: -1, text: 'x'.repeat(5000) })).ok).toBe(false)
    rmSync(join(disk, 'ballast'))
    expect((await journal.append({ n: acknowledged })).ok).toBe(true)
    expect(numbers()).toEqual(Array.from({ length: acknowledged + 1 }, (_, n) => n))
  })

  test('a replacement that finds no room keeps the old file whole and gives back what it took', async () => {
    const disk = await tinyDisk()
    const path = join(disk, 'spec.json')
    expect((await writeAtomic(path, 'old')).ok).toBe(true)
    expect(await writeAtomic(path, Buffer.alloc(100_000))).toMatchObject({ ok: false, error: { code: 'disk_full', fields: { path } } })
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(disk)).toEqual(['spec.json'])
    expect((await writeAtomic(path, Buffer.alloc(40_000))).ok).toBe(true)
  })
})
