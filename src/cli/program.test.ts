import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { cli } from '../../tests/support/cli.ts'
import { tmpDir } from '../../tests/support/tmp.ts'
import { ERRORS, type ErrorCode } from '../contracts/errors.ts'
import { asTyped, VERB_WORDS } from './called.ts'
import { VERBS } from './catalog.ts'
import { exitCodeOf } from './exit.ts'

const PROMISED =
  'up down deploy status doctor launch list show why history logs exec stats start stop restart recover pause resume delete wait label metadata events audit nodes orgs tokens completion server agent'

test('every promised verb exists, has a summary, and explains itself', async () => {
  for (const name of PROMISED.split(' ')) {
    expect(
      VERBS.some((verb) => verb.name === name),
      name,
    ).toBe(true)
    const { code, out } = await cli([name, '--help'])
    expect(code).toBe(0)
    expect(out).toContain(`Usage: holdfast ${name}`)
  }
})

test('help and version go to standard output and succeed', async () => {
  expect(await cli([])).toMatchObject({ code: 0, err: '' })
  const help = await cli(['--help'])
  expect(help.out).toContain('launch')
  expect(help.out).toContain('Deploy and launch:')
  expect(await cli(['--version'])).toEqual({ code: 0, out: '0.0.0-test\n', err: '' })
})

test('a mistyped verb or flag is exit 2 with a suggestion and a next step, on standard error only', async () => {
  const verb = await cli(['lanch'])
  expect(verb).toMatchObject({ code: 2, out: '' })
  expect(verb.err).toBe("holdfast: unknown command 'lanch' (did you mean launch?)\n  Run holdfast --help for what it takes.\n")
  const flag = await cli(['list', '--selectr', 'a=b'])
  expect(flag).toMatchObject({ code: 2, out: '' })
  expect(flag.err).toContain('(did you mean --selector?)')
  expect(flag.err).toContain('Run holdfast list --help')
})

test.each([
  [['show']],
  [['show', 'a', 'b']],
  [['launch', '--restart', 'sometimes', '--', 'x']],
  [['launch', '--cpu', '-1', '--', 'x']],
  [['list', '--limit', '0']],
  [['launch', '--port', '80:80:80', '--', 'x']],
  [['launch', '--health', 'udp:1', '--', 'x']],
  [['launch', '--env', 'novalue', '--', 'x']],
  [['launch', '--wait=sometime', '--', 'x']],
  [['launch', '--wait-timeout', 'soon', '--', 'x']],
  [['launch', '--user-data', '/nowhere', '--', 'x']],
  [['wait', 'web', 'sometime']],
  [['exec', 'web']],
  [['label', 'web', '=x']],
  [['completion', 'tcsh']],
  [['tokens', 'create', 'x']],
  [['list', '--url', 'ftp://x']],
])('bad usage %j is exit 2, and one JSON object with --json', async (args) => {
  const plain = await cli(args)
  expect(plain).toMatchObject({ code: 2, out: '' })
  expect(plain.err.trimEnd().split('\n')).toHaveLength(2)
  const end = args.indexOf('--')
  const json = await cli(end < 0 ? [...args, '--json'] : [...args.slice(0, end), '--json', ...args.slice(end)])
  expect(json).toMatchObject({ code: 2, err: '' })
  const { error } = JSON.parse(json.out)
  expect(Object.keys(error).sort()).toEqual(['code', 'fields', 'hint', 'message', 'retryable'])
  expect(error.code).toBe('invalid_input')
})

async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

test('without a platform a command says so, and how to get one', async () => {
  const cwd = await tmpDir()
  const none = await cli(['list'], { cwd })
  expect(none).toMatchObject({ code: 6, out: '' })
  expect(none.err).toContain('No running platform found')
  expect(none.err).toContain('Start it with holdfast up')
  const url = `http://127.0.0.1:${await closedPort()}`
  const refused = await cli(['list', '--url', url], { cwd })
  expect(refused.code).toBe(6)
  expect(refused.err).toContain(`Nothing listens at ${url}`)
})

test('each error code has the exit code of its kind', () => {
  const byExit: Record<number, ErrorCode> = {
    2: 'invalid_input',
    3: 'forbidden',
    4: 'not_found',
    5: 'quota_exceeded',
    6: 'store_unavailable',
    7: 'wait_timeout',
  }
  for (const [exit, code] of Object.entries(byExit)) expect(exitCodeOf(code), code).toBe(Number(exit))
  expect(exitCodeOf('unauthenticated')).toBe(3)
  expect(exitCodeOf('data_dir_in_use')).toBe(5)
  expect(exitCodeOf('invalid_config')).toBe(2)
  for (const code of Object.keys(ERRORS) as ErrorCode[]) expect(exitCodeOf(code), code).toBeGreaterThan(0)
})

test('completion scripts name every verb and load in their shell', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { out, code } = await cli(['completion', shell])
    expect(code).toBe(0)
    for (const name of PROMISED.split(' ')) expect(out, `${name} in ${shell}`).toContain(name)
  }
})

test('in a checkout the next command is one that works there', () => {
  expect(new Set(VERB_WORDS)).toEqual(new Set(VERBS.map((verb) => verb.name.split(' ')[0])))
  expect(asTyped('Run holdfast why to see, or npx holdfast list; holdfast stopped.', 'npx holdfast')).toBe(
    'Run npx holdfast why to see, or npx holdfast list; holdfast stopped.',
  )
})

test('a flag that was meant for the command to run leads to the two dashes', async () => {
  const { code, err } = await cli(['exec', 'web', 'ls', '-q'])
  expect(code).toBe(2)
  expect(err).toContain('put -- before the command')
})

test('help and a missing verb lead to the help of what was meant', async () => {
  expect((await cli(['help', 'launch'])).out).toBe((await cli(['launch', '--help'])).out)
  expect(await cli(['help'])).toEqual(await cli([]))
  expect((await cli(['nodes', 'drian', 'x'])).err).toBe(
    'holdfast: nodes has no "drian"; it has show, cordon, uncordon\n  Run holdfast nodes --help for what it takes.\n',
  )
  expect((await cli(['nodes', 'show'])).err).toContain('Run holdfast nodes show --help')
  expect((await cli(['list', '--limit', '0'])).err).toContain('Run holdfast list --help')
  expect((await cli(['launch', '--env', 'x', '--', 'x'])).err).toContain('Run holdfast launch --help')
})
