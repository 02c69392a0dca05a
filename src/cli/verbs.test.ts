import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import { cli } from '../../tests/support/cli.ts'
import { type Answered, type Asked, problem, stubApi } from '../../tests/support/stub-api.ts'
import { tmpDir } from '../../tests/support/tmp.ts'
import { instanceView } from '../../tests/support/views.ts'
import type { EnvStatusView } from '../contracts/views.ts'
import { prospectAfter } from './next-run.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const run = async (
  args: readonly string[],
  answer: (asked: Asked) => Answered,
  more: { stdin?: string; columns?: number; cwd?: string } = {},
) => {
  const api = await stubApi(answer)
  const done = await cli(args, { env: { HOLDFAST_URL: api.url, HOLDFAST_TOKEN: 'secret-token' }, ...more })
  return { ...done, asked: api.asked }
}

test('list reads every page, sends the token, and prints one JSON array', async () => {
  const pages = [
    { items: [instanceView({ name: 'a' })], next_cursor: 'c1' },
    { items: [instanceView({ name: 'b' })], next_cursor: null },
  ]
  const { code, out, err, asked } = await run(['list', '-l', 'app=web', '--state', 'running', '--json'], () => ({ body: pages.shift() }))
  expect({ code, err }).toEqual({ code: 0, err: '' })
  expect(JSON.parse(out).map((each: { name: string }) => each.name)).toEqual(['a', 'b'])
  expect(out.trimEnd()).not.toContain('\n')
  expect(asked.map(({ url }) => url)).toEqual([
    '/v1/instances?limit=200&selector=app%3Dweb&state=running',
    '/v1/instances?limit=200&cursor=c1&selector=app%3Dweb&state=running',
  ])
  expect(asked[0]!.headers.authorization).toBe('Bearer secret-token')
})

test('a table fits the terminal and is not cut in a pipe', async () => {
  const name = 'n'.repeat(60)
  const answer = () => ({
    body: {
      items: [instanceView({ name, addresses: [{ name: 'p', protocol: 'tcp', internal: 80, host: '127.0.0.1', port: 8080 }] })],
      next_cursor: null,
    },
  })
  const narrow = await run(['list'], answer, { columns: 80 })
  for (const line of narrow.out.split('\n')) expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(80)
  expect(narrow.out).toContain('…')
  const piped = await run(['list'], answer)
  expect(piped.out).toContain(name)
  expect(piped.out).not.toContain('\u001b')
})

test('what a server says cannot move the cursor of a terminal', async () => {
  const { out } = await run(
    ['show', 'web'],
    () => ({ body: instanceView({ metadata: { note: 'a\u001b[2Jb\u0007' }, notes: ['x\u009b31m'] }) }),
    { columns: 100 },
  )
  expect(out).toContain('\\x1b[2Jb\\x07')
  expect(out).not.toContain('\u001b[2J')
  expect(out).not.toContain('\u009b')
})

test('launch turns its words into the request, and prints a receipt with the next command', async () => {
  const cwd = await tmpDir()
  await writeFile(path.join(cwd, 'key.pub'), '# mine\nssh-ed25519 AAAA me\n\n')
  await writeFile(path.join(cwd, 'init.yaml'), '#cloud-config\n')
  const words = [
    'launch',
    '--name',
    'web',
    '--image',
    'nginx:1',
    '--cpu',
    '0.5',
    '--memory',
    '64Mi',
    '--env',
    'A=1=2',
    '--env',
    'B=',
    '--port',
    '8080:80',
    '--port',
    '81',
  ]
  const more = [
    '--label',
    'app=web',
    '--metadata',
    'note=x y',
    '--health',
    'http:80/health?x=1',
    '--health',
    'tcp:p81',
    '--health',
    'exec:test -f /a',
    '--restart',
    'never',
    '--ssh-key',
    'key.pub',
    '--user-data',
    'init.yaml',
  ]
  const { code, out, asked } = await run(
    [...words, ...more, '--', 'sh', '-c', 'echo --name'],
    () => ({ status: 202, body: instanceView({ name: 'web' }) }),
    { cwd },
  )
  expect(code).toBe(0)
  expect(out).toBe('launched web (inst_0000000000000000000a)\nnext: holdfast show web\n')
  expect(asked[0]!.headers['idempotency-key']).toMatch(/^.{8,128}$/)
  expect(asked[0]!.body).toEqual({
    name: 'web',
    runtime: 'docker',
    image: 'nginx:1',
    command: ['sh', '-c', 'echo --name'],
    cpu: 0.5,
    memory: '64Mi',
    env: { A: '1=2', B: '' },
    ports: [{ host: 8080, internal: 80 }, { internal: 81 }],
    labels: { app: 'web' },
    metadata: { note: 'x y' },
    health: [
      { type: 'http', port: 80, path: '/health?x=1' },
      { type: 'tcp', port: 'p81' },
      { type: 'exec', command: ['/bin/sh', '-c', 'test -f /a'] },
    ],
    restart: { policy: 'never' },
    ssh_authorized_keys: ['ssh-ed25519 AAAA me'],
    user_data: '#cloud-config\n',
  })
})

test('a process runs where the person stands, unless told otherwise', async () => {
  const cwd = await tmpDir()
  const { asked } = await run(['launch', '--', './run.sh'], () => ({ status: 202, body: instanceView() }), { cwd })
  expect(asked[0]!.body).toMatchObject({ runtime: 'process', working_dir: cwd })
})

test('--wait ends 0 when reached, 8 on a terminal failure with its cause, 7 when the time is up', async () => {
  const states = [instanceView({ state: 'pending' }), instanceView({ state: 'starting' }), instanceView({ state: 'running' })]
  const reached = await run(['launch', '--wait', '--json', '--', 'x'], () => ({ status: 202, body: states.shift() }))
  expect(reached).toMatchObject({ code: 0, err: '' })
  expect(JSON.parse(reached.out).state).toBe('running')

  const failed = instanceView({
    state: 'failed',
    reason: 'permanent_error',
    last_error: { code: 'command_not_found', message: 'm', detail: 'No such file: x.', next: 'n', retry: 'never', at: null, fields: {} },
  })
  const ended = await run(['launch', '--wait', '--', 'x'], () => ({ status: 202, body: failed }))
  expect(ended.code).toBe(8)
  expect(ended.err).toContain('command_not_found: No such file: x\n')
  const asJson = await run(['wait', 'web', 'running', '--json'], () => ({ body: failed }))
  expect(asJson.code).toBe(8)
  expect(JSON.parse(asJson.out).error).toMatchObject({ code: 'command_not_found', fields: { state: 'failed' } })

  const late = await run(['wait', 'web', 'healthy', '--wait-timeout', '50ms'], () => ({
    body: instanceView({ health: { status: 'starting', checks: [] } }),
  }))
  expect(late.code).toBe(7)
  expect(late.err).toContain('holdfast why')
  const retried = instanceView({
    state: 'failed',
    reason: 'start_failed',
    last_error: { code: 'port_in_use', message: 'm', detail: 'Port 80 is in use', next: 'n', retry: 'later', at: null, fields: {} },
  })
  const still = await run(['wait', 'web', 'running', '--wait-timeout', '50ms'], () => ({ body: retried }))
  expect(still.code).toBe(7)
  expect(still.err).toContain('(now failed, start_failed; port_in_use: Port 80 is in use).')
})

test('restart --wait is not satisfied by the run that was there before', async () => {
  const seen = [
    instanceView({ incarnation: 3 }),
    instanceView({ incarnation: 3 }),
    instanceView({ incarnation: 3 }),
    instanceView({ incarnation: 4 }),
  ]
  const { code, asked } = await run(['restart', 'web', '--wait'], () => ({ body: seen.shift() }))
  expect(code).toBe(0)
  expect(asked).toHaveLength(4)
})

test('C28: exec passes the remote exit code on and keeps the streams apart', async () => {
  const lines = [
    { stream: 'stdout', at: null, data: base64('out\n') },
    { stream: 'stderr', at: null, data: base64('bad\n') },
    { end: true, exit_code: 42, lost_bytes: null },
  ]
  const { code, out, err, asked } = await run(['exec', 'web', '-i', '--', 'cat', '-n'], () => ({ lines }), { stdin: 'hello' })
  expect({ code, out, err }).toEqual({ code: 42, out: 'out\n', err: 'bad\n' })
  expect(asked[0]!.body).toMatchObject({ command: ['cat', '-n'], stdin: 'hello' })
})

test('logs are printed as they are; with --json one object per line', async () => {
  const lines = [
    { stream: 'stdout', at: '2026-11-21T05:00:00.000Z', data: base64('\u001b[1mhi') },
    { end: true, exit_code: null, lost_bytes: 2048 },
  ]
  const plain = await run(['logs', 'web', '-f', '-n', '5', '--previous'], () => ({ lines }))
  expect(plain).toMatchObject({ code: 0, out: '\u001b[1mhi' })
  expect(plain.err).toContain('2Ki of older output are gone')
  expect(plain.asked[0]!.url).toBe('/v1/instances/web/logs?follow=true&previous=true&tail=5')
  const json = await run(['logs', 'web', '--json'], () => ({ lines }))
  expect(JSON.parse(json.out)).toEqual({ stream: 'stdout', at: '2026-11-21T05:00:00.000Z', data: '\u001b[1mhi' })
})

test('logs tell to the byte what a bounded file dropped under way, where it is missing, and do not count it again at the end', async () => {
  const lines = [
    { stream: 'stdout', at: null, data: base64('one\n') },
    { stream: 'stdout', at: null, data: base64('nine\n'), lost_bytes: 40_961 },
    { end: true, exit_code: null, lost_bytes: 2048 + 40_961 },
  ]
  const plain = await run(['logs', 'web', '-f', '--previous'], () => ({ lines }))
  expect(plain).toMatchObject({ code: 0, out: 'one\nnine\n' })
  expect(plain.err).toMatch(/^40961 bytes of stdout are missing here: .*\n2Ki of older output are gone.*\n$/)
  const json = await run(['logs', 'web', '--json'], () => ({ lines }))
  expect(
    json.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { stream: 'stdout', at: null, data: 'one\n' },
    { stream: 'stdout', at: null, data: 'nine\n', lost_bytes: 40_961 },
  ])
})

test('label and metadata set and remove in one call, guarded by a version', async () => {
  const answer = () => ({ body: instanceView({ labels: { tier: 'front' }, version: 5 }) })
  const { out, asked } = await run(['label', 'web', 'tier=front', 'old-', '--if-version', '4'], answer)
  expect(out).toBe('tier=front\n')
  expect(asked[0]).toMatchObject({ method: 'PUT', url: '/v1/instances/web/metadata', body: { labels: { tier: 'front', old: null } } })
  expect(asked[0]!.headers['if-match']).toBe('"4"')
  const shown = await run(['metadata', 'web'], answer)
  expect(shown).toMatchObject({ code: 0, out: 'no metadata\n' })
  expect(shown.asked[0]!.method).toBe('GET')
})

test.each([
  [400, 'invalid_selector', 2],
  [401, 'unauthenticated', 3],
  [403, 'forbidden', 3],
  [404, 'not_found', 4],
  [409, 'quota_exceeded', 5],
  [412, 'version_conflict', 5],
  [422, 'unsupported', 2],
])('a server error %i %s is exit %i, with its words and its next step', async (status, code, exit) => {
  const plain = await run(['stop', 'web'], () => problem(status, code, 'The particulars.', { dimension: 'memory' }))
  expect(plain).toMatchObject({ code: exit, out: '' })
  expect(plain.err).toMatch(/^holdfast: The particulars\.\n {2}.+\n$/)
  const json = await run(['stop', 'web', '--json'], () => problem(status, code, 'The particulars.', { dimension: 'memory' }))
  expect(JSON.parse(json.out).error).toMatchObject({ code, message: 'The particulars.', fields: { dimension: 'memory' } })
})

test('the next command names the instance that the failing one was about, and of a node it names none', async () => {
  const refused = () => problem(409, 'wrong_state', 'It is stopped.')
  expect((await run(['exec', 'web', '--', 'ls'], refused)).err).toMatch(
    /holdfast show web to see its state, and (npx )?holdfast why web for/,
  )
  expect((await run(['logs', 'web'], () => problem(404, 'not_found', 'Nothing.'))).err).toContain('holdfast history web shows')
  expect((await run(['nodes', 'show', 'node-1'], refused)).err).toMatch(/holdfast show to see/)
})

test('the local token goes only to the address that the same directory names', async () => {
  const cwd = await tmpDir()
  const api = await stubApi(() => ({ body: { items: [], next_cursor: null } }))
  const dir = path.join(cwd, '.holdfast')
  await mkdir(path.join(cwd, 'deep', 'er'), { recursive: true })
  await mkdir(dir)
  await writeFile(path.join(dir, 'endpoint.json'), JSON.stringify({ url: api.url, pid: 1 }))
  await writeFile(path.join(dir, 'operator.token'), 'local-secret\n')
  const found = await cli(['list'], { cwd: path.join(cwd, 'deep', 'er') })
  expect(found).toMatchObject({ code: 0, out: 'no instances; launch one with holdfast launch, or deploy a manifest\n' })
  expect(api.asked.at(-1)!.headers.authorization).toBe('Bearer local-secret')
  // A directory named in words wins over the environment, and its own token goes along.
  await cli(['list', '--data-dir', dir], { cwd: '/', env: { HOLDFAST_URL: 'http://127.0.0.1:1', HOLDFAST_TOKEN: 'of-another-one' } })
  expect(api.asked.at(-1)!.headers.authorization).toBe('Bearer local-secret')
  const other = await stubApi(() => ({ body: { items: [], next_cursor: null } }))
  await cli(['list', '--url', other.url], { cwd })
  expect(other.asked.at(-1)!.headers.authorization).toBeUndefined()
})

const event = (cursor: number) => ({
  cursor: String(cursor),
  at: '2026-11-21T05:00:00.000Z',
  type: 'env.changed',
  org_id: null,
  instance_id: null,
  node_id: null,
  data: { app: 'a' },
})

test('events -f from a cursor of the future, as after a restored database, says so in one line and starts over with the newest', async () => {
  const { code, out, err, asked } = await run(['events', '-f', '--after', '900'], ({ url, headers }) => {
    if (url.includes('last=')) return { body: { items: [event(7), event(8)], next_cursor: null } }
    if (headers['last-event-id'] === '900') return problem(400, 'invalid_input', 'after: beyond', { field: 'after', newest: '8' })
    return headers['last-event-id'] === '8' ? { events: [event(9)] } : problem(401, 'unauthenticated', 'That is enough.')
  })
  expect(out.match(/^\d+ /gm)).toEqual(['7 ', '8 ', '9 '])
  expect(asked.map(({ url }) => url).slice(0, 3)).toEqual(['/v1/events?after=900', '/v1/events?last=10', '/v1/events?after=8'])
  expect(err.split('\n').filter((line) => line.includes('its newest event is 8'))).toHaveLength(1)
  expect(code).toBe(3)
})

test('events shows the newest, or what follows a cursor', async () => {
  const answer = () => ({ body: { items: [event(7), event(8)], next_cursor: null } })
  const newest = await run(['events', '--limit', '2', '--json'], answer)
  expect(JSON.parse(newest.out)).toHaveLength(2)
  expect(newest.asked[0]!.url).toBe('/v1/events?limit=2&last=2')
  const after = await run(['events', '--after', '6'], answer)
  expect(after.asked[0]!.url).toBe('/v1/events?limit=50&after=6')
  expect(after.out).toContain('app=a')
})

test('a failure that the control plane will try again is waited through; a one-shot that failed is not', async () => {
  const error = { code: 'image_pull_failed', message: 'm', detail: 'No network.', next: 'n', retry: 'soon', at: null, fields: {} } as const
  const states = [instanceView({ state: 'failed', reason: 'start_failed', last_error: error }), instanceView()]
  expect((await run(['wait', 'web', 'running'], () => ({ body: states.shift() }))).code).toBe(0)
  const shot = instanceView({ state: 'failed', reason: 'exited_error', last_error: { ...error, code: 'exited', detail: 'Exit code 3.' } })
  expect((await run(['wait', 'web', 'stopped'], () => ({ body: shot }))).code).toBe(8)
  expect((await run(['wait', 'web', 'running'], () => ({ body: shot }))).code).toBe(8)
})

test('logs -f goes on with the run that replaces the one it read, and ends with one that nothing will replace', async () => {
  const states = [
    instanceView({ name: 'web', incarnation: 1, state: 'running' }),
    instanceView({ name: 'web', incarnation: 1, state: 'running' }),
    instanceView({ name: 'web', incarnation: 2, state: 'starting' }),
    instanceView({ name: 'web', incarnation: 2, state: 'running' }),
    instanceView({ name: 'web', incarnation: 2, state: 'stopped' }),
  ]
  const chunks = ['one', 'two']
  const { code, out, err, asked } = await run(['logs', 'web', '-f', '-n', '5'], ({ url }) =>
    url.includes('/logs')
      ? {
          lines: [
            { stream: 'stdout', at: null, data: base64(`${chunks.shift()}\n`) },
            { end: true, exit_code: null, lost_bytes: 0 },
          ],
        }
      : { body: states.shift() },
  )
  expect({ code, out, err }).toEqual({ code: 0, out: 'one\ntwo\n', err: 'run 1 of web has ended; this is run 2\n' })
  expect(asked.map(({ url }) => url).filter((url) => url.includes('/logs'))).toEqual([
    '/v1/instances/web/logs?follow=true&tail=5',
    '/v1/instances/web/logs?follow=true',
  ])
})

test.each([
  ['stopped', 1, 'over'],
  ['failed', 1, 'over'],
  ['failed', 2, 'runs'],
  ['recovering', 1, 'waiting'],
  ['crash_looping', 2, 'waiting'],
  ['running', 1, 'unchanged'],
  ['running', 3, 'runs'],
])('%s in run %i, after run 1: %s', (state, incarnation, prospect) => {
  expect(prospectAfter({ ...instanceView({}), state, incarnation }, 1)).toBe(prospect)
})

test('undeploy deletes the env that it names, and says so when there is none', async () => {
  const env: EnvStatusView = {
    ...{ id: 'env_00000000000000000000', app: 'hello', env: 'prod', state: 'running', manifest_hash: 'sha256:0' },
    ...{ processes: [], created_at: '2026-11-21T05:00:00.000Z', updated_at: '2026-11-21T05:00:00.000Z' },
  }
  const { code, out, asked } = await run(['undeploy', 'hello'], ({ method }) =>
    method === 'DELETE' ? { status: 202, body: env } : { body: { items: [env], next_cursor: null } },
  )
  expect({ code, out }).toEqual({ code: 0, out: `removing hello prod (${env.id})\nnext: holdfast status\n` })
  expect(asked.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /v1/envs?app=hello&limit=200', `DELETE /v1/envs/${env.id}`])
  const none = await run(['undeploy', 'hello', '--env', 'staging'], () => ({ body: { items: [env], next_cursor: null } }))
  expect(none).toMatchObject({
    code: 4,
    err: 'holdfast: There is no env staging of an app hello.\n  Run holdfast status to see all of them.\n',
  })
})
