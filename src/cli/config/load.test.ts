import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DEFAULT_CONFIG } from '../../contracts/config.ts'
import { type ConfigSources, envNameOf, loadConfig } from './load.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'holdfast-config-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const write = (text: string) => writeFile(path.join(dir, 'holdfast.config.toml'), text)
const load = (given: Partial<ConfigSources> = {}) =>
  loadConfig({ cwd: dir, dataDir: path.join(dir, '.holdfast'), file: undefined, env: {}, flags: {}, ...given })
const problems = async (given?: Partial<ConfigSources>) => {
  const loaded = await load(given)
  return loaded.ok ? 'no problem' : `${loaded.error.code} ${loaded.error.detail}`
}

test('without any source the defaults hold', async () => {
  const loaded = await load()
  expect(loaded).toEqual({ ok: true, value: { config: DEFAULT_CONFIG, file: null } })
})

test('flags win over the environment, the environment over the file, the file over defaults', async () => {
  await write('[server]\nlisten = "127.0.0.1:1"\n[log]\nlevel = "warn"\n[metrics]\nnamespace = "unkey_metald"\n')
  const loaded = await load({
    env: { HOLDFAST_LISTEN: '127.0.0.1:2', HOLDFAST_LOG_LEVEL: 'error', HOLDFAST_NODE_LABELS: 'zone=a,disk=ssd' },
    flags: { 'server.listen': { value: '[::1]:3', words: '--listen' } },
  })
  expect(loaded.ok && loaded.value.config).toMatchObject({
    listen: { host: '::1', port: 3 },
    log: { level: 'error' },
    metrics: { namespace: 'unkey_metald' },
    node: { labels: { zone: 'a', disk: 'ssd' } },
  })
})

test('the published simplified sample loads', async () => {
  await write(
    '[reliability]\nenabled = true\n[reliability.health_check]\ninterval = "30s"\nfailure_threshold = 3\nenabled = true\n[reliability.recovery]\nmax_retries = 3\ndetection_interval = "60s"\nenabled = true\n',
  )
  expect((await load()).ok).toBe(true)
})

test('every bad key of a file is named with its line and column', async () => {
  await write('[reliability.health_check]\nintervall = "30s"\ntimeout = "0s"\n[metrics]\n  namespace = "1x"\n')
  const said = await problems()
  expect(said).toContain(
    'invalid_config holdfast.config.toml:2:1: reliability.health_check.intervall: unknown key (did you mean interval?)',
  )
  expect(said).toContain('holdfast.config.toml:3:1: reliability.health_check.timeout: must be a duration greater than zero')
  expect(said).toContain('holdfast.config.toml:5:3: metrics.namespace: must be letters')
})

test('a bad variable and a bad flag are blamed by their own names', async () => {
  const said = await problems({
    env: { HOLDFAST_RELIABILITY_RECOVERY_MODE: 'maybe', HOLDFAST_NODE_CPU_OVERCOMMIT: 'lots' },
    flags: { 'server.listen': { value: 'here', words: '--listen' } },
  })
  expect(said).toContain('HOLDFAST_RELIABILITY_RECOVERY_MODE: ')
  expect(said).toContain('HOLDFAST_NODE_CPU_OVERCOMMIT: ')
  expect(said).toContain('--listen: must be HOST:PORT')
})

test('a syntax error has its place; a named file must exist', async () => {
  await write('[log\nlevel = 1\n')
  expect(await problems()).toMatch(/holdfast\.config\.toml:1:\d+: /)
  expect(await problems({ file: 'nowhere.toml' })).toContain('nowhere.toml does not exist')
})

test('each key of the file has one variable', () => {
  expect(envNameOf('reliability.recovery.max_retries')).toBe('HOLDFAST_RELIABILITY_RECOVERY_MAX_RETRIES')
  expect(envNameOf('server.listen')).toBe('HOLDFAST_LISTEN')
})
