import { parse } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { DEFAULT_RELIABILITY, parseReliability } from './reliability.ts'

const load = (toml: string) => parseReliability(parse(toml).reliability)
const refusedKeys = (toml: string) => {
  const loaded = load(toml)
  if (loaded.ok) throw new Error(`was accepted: ${toml}`)
  expect(loaded.error.code).toBe('invalid_config')
  return loaded.error.fields?.fields
}

const WHOLE = `
[reliability]
enabled = true
[reliability.health_check]
enabled = true
interval = "30s"
timeout = "5s"
failure_threshold = 3
recovery_threshold = 2
[reliability.recovery]
mode = "on"
max_retries = 3
retry_interval = "30s"
backoff_factor = 2.0
max_retry_interval = "5m"
recovery_timeout = "10m"
detection_interval = "60s"
allow_data_loss = false
`

describe('the reliability section', () => {
  test('no section, an empty one and the published one are the same defaults', () => {
    expect(parseReliability(undefined)).toEqual({ ok: true, value: DEFAULT_RELIABILITY })
    expect(load('[reliability]')).toEqual({ ok: true, value: DEFAULT_RELIABILITY })
    expect(load(WHOLE)).toEqual({ ok: true, value: DEFAULT_RELIABILITY })
    expect(DEFAULT_RELIABILITY).toEqual({
      enabled: true,
      healthCheck: { enabled: true, intervalMs: 30_000, timeoutMs: 5000, failureThreshold: 3, recoveryThreshold: 2 },
      recovery: {
        mode: 'on',
        maxRetries: 3,
        retryIntervalMs: 30_000,
        backoffFactor: 2,
        maxRetryIntervalMs: 300_000,
        recoveryTimeoutMs: 600_000,
        detectionIntervalMs: 60_000,
        allowDataLoss: false,
        concurrencyMax: null,
      },
      breaker: {
        instanceEndsMax: 20,
        instanceWindowMs: 600_000,
        failuresMin: 5,
        failureRatio: 0.5,
        windowMs: 60_000,
        openMs: 30_000,
        openMsMax: 300_000,
        trials: 3,
      },
    })
  })

  test('T22: the simplified sample of the source document loads, and missing keys take the defaults', () => {
    const sample = `
[reliability]
enabled = true
[reliability.health_check]
interval = "30s"
failure_threshold = 3
enabled = true
[reliability.recovery]
max_retries = 3
detection_interval = "60s"
enabled = true
`
    expect(load(sample)).toEqual({ ok: true, value: DEFAULT_RELIABILITY })
  })

  test('a key that is given replaces its default and no other', () => {
    expect(load('[reliability.health_check]\ninterval = "10s"')).toEqual({
      ok: true,
      value: { ...DEFAULT_RELIABILITY, healthCheck: { ...DEFAULT_RELIABILITY.healthCheck, intervalMs: 10_000 } },
    })
  })

  test.each([
    ['enabled = false', 'off'],
    ['enabled = false\nmode = "on"', 'off'],
    ['enabled = true\nmode = "observe"', 'observe'],
    ['mode = "off"', 'off'],
  ])('recovery %j reads as mode %s', (keys, mode) => {
    const loaded = load(`[reliability.recovery]\n${keys}`)
    expect(loaded.ok && loaded.value.recovery.mode).toBe(mode)
  })

  test.each([
    ...['interval', 'timeout'].flatMap((key) => ['"0s"', '"-5s"', '0', '"5"', '"soon"'].map((value) => [`health_check.${key}`, value])),
    ...['failure_threshold', 'recovery_threshold'].flatMap((key) =>
      ['0', '-1', '1.5', '"3"'].map((value) => [`health_check.${key}`, value]),
    ),
    ...['retry_interval', 'max_retry_interval', 'recovery_timeout', 'detection_interval'].flatMap((key) =>
      ['"0s"', '"-1m"'].map((value) => [`recovery.${key}`, value]),
    ),
    ...['max_retries', 'backoff_factor'].flatMap((key) => ['0', '-2'].map((value) => [`recovery.${key}`, value])),
    ['recovery.mode', '"maybe"'],
    ['recovery.allow_data_loss', '"no"'],
  ])('T22: %s = %s is refused by name', (key, value) => {
    const [section, name] = key!.split('.')
    expect(refusedKeys(`[reliability.${section}]\n${name} = ${value}`)).toEqual([`reliability.${key}`])
  })

  test('every bad and every unknown key is named at once', () => {
    const keys = refusedKeys(
      '[reliability]\non = true\n[reliability.health_check]\ninterval = "0s"\nretries = 2\n[reliability.recovery]\nmax_retries = 0',
    )
    expect(keys).toEqual(
      expect.arrayContaining([
        'reliability.on',
        'reliability.health_check.interval',
        'reliability.health_check.retries',
        'reliability.recovery.max_retries',
      ]),
    )
    expect(keys).toHaveLength(4)
  })

  test('a section that is no table is refused', () => {
    expect(refusedKeys('reliability = 3')).toEqual(['reliability'])
  })

  test('the cap follows a longer first wait, but two that contradict are refused', () => {
    const loaded = load('[reliability.recovery]\nretry_interval = "10m"')
    expect(loaded.ok && loaded.value.recovery.maxRetryIntervalMs).toBe(600_000)
    expect(refusedKeys('[reliability.recovery]\nretry_interval = "2m"\nmax_retry_interval = "1m"')).toEqual([
      'reliability.recovery.max_retry_interval',
    ])
  })
})
