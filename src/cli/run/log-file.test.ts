import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { openLogFile } from './log-file.ts'

const open = (file: string, bytesMax: number) => {
  const opened = openLogFile(file, bytesMax)
  if (!opened.ok) throw new Error(opened.error.detail)
  return opened.value
}

test('the log never takes more than twice its size, keeps the newest lines, and goes on where it was', async () => {
  const file = path.join(await tmpDir(), 'x.log')
  for (let run = 0; run < 3; run += 1) {
    const log = open(file, 1000)
    for (let index = 0; index < 200; index += 1) log.write(`${run} ${String(index).padStart(4, '0')}\n`)
    log.close()
  }
  expect(statSync(file).size + statSync(`${file}.1`).size).toBeLessThanOrEqual(2000)
  expect(readFileSync(file, 'utf8').endsWith('2 0199\n')).toBe(true)
  expect(statSync(file).mode & 0o777).toBe(0o600)
})

test('a log that cannot be written any more loses lines, not the platform', async () => {
  const dir = await tmpDir()
  const log = open(path.join(dir, 'x.log'), 1000)
  log.close()
  log.write('lost\n')
  expect(log.lost()).toBe(1)
  expect(existsSync(path.join(dir, 'x.log.1'))).toBe(false)
})

test("a log whose directory goes away writes into nobody else's file, and goes on when it is back", async () => {
  const dir = await tmpDir()
  const logs = path.join(dir, 'logs')
  mkdirSync(logs)
  const log = open(path.join(logs, 'x.log'), 10)
  log.write('12345678\n')
  rmSync(logs, { recursive: true })
  log.write('too long for it\n')
  // Takes the lowest free number, which is the one that the log had.
  const other = openSync(path.join(dir, 'other'), 'w')
  log.write('still nowhere to go\n')
  closeSync(other)
  expect(readFileSync(path.join(dir, 'other'), 'utf8')).toBe('')
  expect(log.lost()).toBe(2)
  mkdirSync(logs)
  log.write('back\n')
  expect(readFileSync(path.join(logs, 'x.log'), 'utf8')).toBe('back\n')
  log.close()
})

test('a log file that cannot be opened is a failure with its path', async () => {
  const opened = openLogFile(path.join(await tmpDir(), 'no', 'x.log'))
  expect(opened).toMatchObject({ ok: false, error: { code: 'file_error' } })
})
