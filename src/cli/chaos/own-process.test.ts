import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { ownPid } from './own-process.ts'

/** A process table: pid on the host, ids from the outer to the inner namespace, environment. */
async function proc(table: Readonly<Record<string, { ns: string; env: Readonly<Record<string, string>> }>>): Promise<string> {
  const dir = await tmpDir()
  for (const [pid, { ns, env }] of Object.entries(table)) {
    await mkdir(join(dir, pid))
    await writeFile(join(dir, pid, 'status'), `Name:\tperl\nNSpid:\t${ns}\nThreads:\t1\n`)
    await writeFile(
      join(dir, pid, 'environ'),
      Object.entries(env)
        .map(([key, value]) => `${key}=${value}\0`)
        .join(''),
    )
  }
  return dir
}
const own = { CHAOS_RUN: 'r', CHAOS_NAME: 'a' }

test('a process of the host is the number it says; one in a container is found by its mark, its name and its innermost number', async () => {
  const dir = await proc({
    '40': { ns: '40', env: own },
    '41': { ns: '41\t7\t1', env: { ...own, CHAOS_NAME: 'b' } },
    '42': { ns: '42\t1', env: { ...own, CHAOS_NAME: 'c' } },
  })
  expect(ownPid({ run: 'r', name: 'a', pid: 40 }, dir)).toBe(40)
  expect(ownPid({ run: 'r', name: 'b', pid: 1 }, dir)).toBe(41)
  expect(ownPid({ run: 'r', name: 'c', pid: 1 }, dir)).toBe(42)
})

test('of another run, another instance, another number, or of two that fit, none is ours; nor is 1 ever', async () => {
  const dir = await proc({
    '1': { ns: '1', env: own },
    '40': { ns: '40', env: { ...own, CHAOS_RUN: 'another' } },
    '41': { ns: '41', env: { PATH: '/bin' } },
    '50': { ns: '50\t1', env: { ...own, CHAOS_NAME: 'twice' } },
    '51': { ns: '51\t1', env: { ...own, CHAOS_NAME: 'twice' } },
  })
  expect(ownPid({ run: 'r', name: 'a', pid: 1 }, dir)).toBeNull()
  expect(ownPid({ run: 'r', name: 'a', pid: 40 }, dir)).toBeNull()
  expect(ownPid({ run: 'r', name: 'a', pid: 41 }, dir)).toBeNull()
  expect(ownPid({ run: 'another', name: 'a', pid: 41 }, dir)).toBeNull()
  expect(ownPid({ run: 'r', name: 'twice', pid: 1 }, dir)).toBeNull()
})
