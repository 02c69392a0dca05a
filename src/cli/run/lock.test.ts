import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemRandom } from '../../base/system.ts'
import { holderOf, lockDataDir } from './lock.ts'
import { processOf } from './process-facts.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'holdfast-lock-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const take = (pid = process.pid) => lockDataDir(dir, 'up', pid, systemRandom)

/** A process that ends when the test says so. */
async function otherProcess(): Promise<{ pid: number; end: () => Promise<void> }> {
  const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] })
  await new Promise((resolve) => child.once('spawn', resolve))
  return {
    pid: child.pid!,
    end: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve())
        child.stdin.end()
      }),
  }
}

test('T37: a second up is refused and told the pid of the first', async () => {
  const first = await take()
  const second = await take()
  expect(first.ok).toBe(true)
  expect(second).toMatchObject({ ok: false, error: { code: 'data_dir_in_use', fields: { pid: process.pid } } })
})

test('T37: a released lock can be taken again and leaves no file behind', async () => {
  const first = await take()
  if (first.ok) await first.value.release()
  expect(await readdir(dir)).toEqual([])
  expect((await take()).ok).toBe(true)
})

test('the lock of a dead process is taken over, and no helper file stays', async () => {
  const other = await otherProcess()
  expect((await take(other.pid)).ok).toBe(true)
  expect(await holderOf(dir)).toMatchObject({ pid: other.pid })
  await other.end()
  expect(await holderOf(dir)).toBeUndefined()
  expect((await take()).ok).toBe(true)
  expect(await holderOf(dir)).toMatchObject({ pid: process.pid })
  expect(await readdir(dir)).toEqual(['up.lock'])
})

test('a pid that was given to another process since does not hold the lock', async () => {
  expect((await take()).ok).toBe(true)
  const file = path.join(dir, 'up.lock')
  const record = JSON.parse(await readFile(file, 'utf8'))
  await writeFile(file, JSON.stringify({ ...record, startTime: '1' }))
  expect((await take()).ok).toBe(true)
})

test('a lock that is not a record is stale, not a wall', async () => {
  await writeFile(path.join(dir, 'up.lock'), '')
  expect((await take()).ok).toBe(true)
})

test('of many that race for a stale lock exactly one wins, every time', async () => {
  for (let round = 0; round < 40; round += 1) {
    const other = await otherProcess()
    await take(other.pid)
    await other.end()
    const outcomes = await Promise.all(Array.from({ length: 12 }, () => take()))
    expect(outcomes.filter((outcome) => outcome.ok)).toHaveLength(1)
    expect((await readdir(dir)).filter((name) => name !== 'up.lock')).toEqual([])
    for (const outcome of outcomes) if (outcome.ok) await outcome.value.release()
  }
})

test('a successor whose owner died between claim and replacement is taken over too', async () => {
  const [first, second] = [await otherProcess(), await otherProcess()]
  await take(first.pid)
  const held = JSON.parse(await readFile(path.join(dir, 'up.lock'), 'utf8'))
  const dead = { ...(await processOf(second.pid))!, nonce: 'z'.repeat(20), verb: 'up' }
  await writeFile(path.join(dir, `up.lock.${held.nonce.slice(0, 8)}`), JSON.stringify(dead))
  await Promise.all([first.end(), second.end()])
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => take()))
  expect(outcomes.filter((outcome) => outcome.ok)).toHaveLength(1)
})

test('a process name needs its start time: another process never counts as the holder', async () => {
  expect(await processOf(process.pid)).toMatchObject({ pid: process.pid })
  expect(await processOf(4_194_304)).toBeUndefined()
})
