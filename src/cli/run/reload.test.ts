import { expect, test } from 'vitest'
import { err, ok, type Result } from '../../base/result.ts'
import { DEFAULT_CONFIG, type HoldfastConfig } from '../../contracts/config.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { LoadedConfig } from '../config/load.ts'
import { createReload } from './reload.ts'

const withMode = (mode: 'off' | 'observe' | 'on', more: Partial<HoldfastConfig> = {}): HoldfastConfig => ({
  ...DEFAULT_CONFIG,
  ...more,
  reliability: { ...DEFAULT_CONFIG.reliability, recovery: { ...DEFAULT_CONFIG.reliability.recovery, mode } },
})

function reloading(answers: readonly Result<HoldfastConfig, Failure>[]) {
  const lines: unknown[] = []
  const applied: ReliabilityConfig['recovery']['mode'][] = []
  let reads = 0
  const say = (level: string) => (msg: string, fields?: object) => void lines.push([level, msg, fields])
  const load = async (): Promise<Result<LoadedConfig, Failure>> => {
    const answer = answers[Math.min(reads, answers.length - 1)] ?? ok(DEFAULT_CONFIG)
    reads += 1
    return answer.ok ? ok({ config: answer.value, file: 'holdfast.config.toml' }) : answer
  }
  const log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
  const reload = createReload({ log, started: DEFAULT_CONFIG, load, apply: ({ recovery }) => void applied.push(recovery.mode) })
  return { reload, lines, applied, reads: () => reads }
}

test('what changed in [reliability] holds at once, and is named', async () => {
  const { reload, lines, applied } = reloading([ok(withMode('observe')), ok(withMode('observe'))])
  await reload()
  await reload()
  expect(applied).toEqual(['observe'])
  expect(lines).toEqual([
    ['info', 'configuration reloaded', { file: 'holdfast.config.toml', changed: 'reliability.recovery.mode' }],
    ['info', 'configuration reloaded', { file: 'holdfast.config.toml', changed: '' }],
  ])
})

test('a configuration that is not valid changes nothing, and its bad keys are named; the next good one holds', async () => {
  const bad = failure('invalid_config', 'holdfast.config.toml:2:1: reliability.recovery.max_retries: must be 1 or more', {
    keys: ['reliability.recovery.max_retries'],
  })
  const { reload, lines, applied } = reloading([err(bad), ok(withMode('off'))])
  await reload()
  expect([applied, lines]).toMatchObject([
    [],
    [['error', 'configuration refused', { error_code: 'invalid_config', keys: 'reliability.recovery.max_retries' }]],
  ])
  await reload()
  expect(applied).toEqual(['off'])
})

test('other sections are named as needing a restart, and are not taken for changed later', async () => {
  const moved = withMode('on', { dockerSocket: '/run/other.sock' })
  const { reload, lines, applied } = reloading([ok(moved), ok(DEFAULT_CONFIG)])
  await reload()
  expect(applied).toEqual([])
  expect(lines.at(-1)).toEqual(['warn', 'configuration needs a restart', { file: 'holdfast.config.toml', changed: 'dockerSocket' }])
  await reload()
  expect(lines.at(-1)).toEqual(['info', 'configuration reloaded', { file: 'holdfast.config.toml', changed: '' }])
})

test('signals that come while one is answered fold into one further reading', async () => {
  const { reload, reads } = reloading([ok(withMode('off'))])
  await Promise.all([reload(), reload(), reload(), reload()])
  expect(reads()).toBe(2)
})
