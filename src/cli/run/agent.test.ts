import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { cli } from '../../../tests/support/cli.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'

test('a token that no header can carry is refused before the agent starts, and not repeated', async () => {
  const dir = await tmpDir()
  const file = path.join(dir, 'two-lines')
  await writeFile(file, 'first-half-of-it\nsecond-half-of-it\n')
  const args = ['agent', '--control', 'http://127.0.0.1:9', '--state-dir', path.join(dir, 'state'), '--listen', '127.0.0.1:0']
  for (const given of [
    { args: [...args, '--token-file', file], env: {} },
    { args, env: { HOLDFAST_TOKEN: 'with a space' } },
  ]) {
    const run = await cli(given.args, { cwd: dir, env: given.env })
    expect(run.code).not.toBe(0)
    expect(run.err).toContain('holds characters that no token has')
    expect(run.err).not.toMatch(/second-half|with a space/)
  }
})

test('a token file that is not there is named, with where the right one is', async () => {
  const dir = await tmpDir()
  const args = ['agent', '--control', 'http://127.0.0.1:9', '--state-dir', path.join(dir, 'state'), '--token-file', path.join(dir, 'none')]
  const run = await cli(args, { cwd: dir })
  expect(run.code).toBe(2)
  expect(run.err).toContain('agent.token')
  expect(run.err).not.toContain('operator.token')
})
