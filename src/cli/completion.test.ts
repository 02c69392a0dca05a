import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { VERBS } from './catalog.ts'
import { completionScript } from './completion.ts'

const run = promisify(execFile)

/** What bash would offer for the last word. */
async function offered(...words: string[]): Promise<readonly string[]> {
  const quoted = words.map((word) => `'${word}'`).join(' ')
  const script = `${completionScript('bash', VERBS)}\nCOMP_WORDS=(holdfast ${quoted})\nCOMP_CWORD=${words.length}\n_holdfast\nprintf '%s\\n' "\${COMPREPLY[@]}"\n`
  const { stdout } = await run('bash', ['-c', script])
  return stdout.split('\n').filter(Boolean)
}

test('bash completes verbs, verbs below verbs, flags and the words of a flag', async () => {
  expect(await offered('la')).toEqual(['launch', 'label'])
  expect(await offered('nodes', 'cor')).toEqual(['cordon'])
  expect(await offered('launch', '--res')).toEqual(['--restart'])
  expect(await offered('launch', '--restart', '')).toEqual(['always', 'on-failure', 'never'])
  expect(await offered('tokens', 'create', '--ro')).toEqual(['--role'])
})
