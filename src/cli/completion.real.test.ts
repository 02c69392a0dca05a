// The scripts as their own shells load them and a person meets them: a verb, a flag, a word of a flag.
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { describeNeeds } from '../../tests/support/needs.ts'
import { tmpDir } from '../../tests/support/tmp.ts'
import { VERBS } from './catalog.ts'
import { completionScript } from './completion.ts'

const run = promisify(execFile)
const DEADLINE_MS = 30_000

describeNeeds('fish', 'completion in fish', () => {
  /** What fish would list, without the descriptions. */
  const offered = async (line: string): Promise<readonly string[]> => {
    const file = path.join(await tmpDir(), 'holdfast.fish')
    await writeFile(file, completionScript('fish', VERBS))
    const { stdout, stderr } = await run('fish', ['--no-config', '-c', `source ${file}; complete -C '${line}'`], { timeout: DEADLINE_MS })
    expect(stderr).toBe('')
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((each) => each.split('\t')[0] ?? '')
  }
  test.each([
    ['holdfast la', ['label', 'launch']],
    ['holdfast nodes cor', ['cordon']],
    ['holdfast launch --res', ['--restart']],
    ['holdfast launch --restart ', ['always', 'never', 'on-failure']],
    ['holdfast tokens create --ro', ['--role']],
    ['holdfast start --wait=', ['--wait=healthy', '--wait=running']],
  ])('%s offers %j', async (line, words) => {
    expect([...(await offered(line))].sort()).toEqual(words)
  })
})

describeNeeds('zsh', 'completion in zsh', () => {
  /** An interactive zsh on a terminal of its own, its Tab pressed; what then stands on its command line. */
  const completed = async (typed: string, before: string): Promise<string> => {
    const dir = await tmpDir()
    const [script, out, driver] = ['holdfast.zsh', 'out', 'drive'].map((name) => path.join(dir, name)) as [string, string, string]
    await writeFile(script, completionScript('zsh', VERBS))
    const setUp = [
      before,
      `source ${script}`,
      `show() { print -rn -- "$BUFFER" > ${out}.new; mv ${out}.new ${out} }`,
      'zle -N show',
      "bindkey '^Xs' show",
    ]
    await writeFile(
      driver,
      [
        'zmodload zsh/zpty zsh/zselect',
        'zpty shell zsh -f -i',
        ...setUp.map((line) => `zpty -w shell ${quote(line)}`),
        `zpty -w -n shell ${quote(typed)}$'\\t\\x18s'`,
        // What it prints is read, or it would wait for a reader, and shown when this takes too long.
        `while [[ ! -e ${out} ]] && (( SECONDS < 20 )); do zpty -r -t shell said && print -rn -u2 -- $said || zselect -t 2; done`,
        'zpty -d shell',
      ].join('\n'),
    )
    const { stderr } = await run('zsh', ['-f', driver], {
      timeout: DEADLINE_MS,
      env: { ...process.env, ZDOTDIR: dir, HOME: dir, TERM: 'dumb' },
    })
    return readFile(out, 'utf8').catch(() => stderr)
  }
  const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
  const PREPARED = 'autoload -Uz compinit && compinit -i'

  test.each([
    ['holdfast lau', 'holdfast launch '],
    ['holdfast nodes cor', 'holdfast nodes cordon '],
    ['holdfast launch --rest', 'holdfast launch --restart '],
    ['holdfast launch --restart al', 'holdfast launch --restart always '],
  ])('%s becomes %j', async (typed, line) => {
    expect(await completed(typed, PREPARED)).toBe(line)
  })
  test('also in a zsh that has not set up its completion itself', async () => {
    expect(await completed('holdfast lau', ':')).toBe('holdfast launch ')
  })
})
