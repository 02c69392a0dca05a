// The `[reliability]` section: how often the platform looks, and how hard it tries to bring an instance back. Every key is optional
// and merged with the defaults; a zero, negative or unknown one stops the start and is named, because a bad value here does not look
// bad: a timeout of zero makes every healthy instance unhealthy, and a misspelt threshold is silently the default.
import { z } from 'zod'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from './errors.ts'
import { RecoveryMode } from './spec.ts'
import { Duration } from './units.ts'

/** Compiled: nothing optional, milliseconds. */
export interface ReliabilityConfig {
  /** False = neither checks nor recovery, whatever the sections below say. */
  readonly enabled: boolean
  readonly healthCheck: {
    readonly enabled: boolean
    readonly intervalMs: number
    readonly timeoutMs: number
    readonly failureThreshold: number
    readonly recoveryThreshold: number
  }
  readonly recovery: {
    readonly mode: RecoveryMode
    readonly maxRetries: number
    readonly retryIntervalMs: number
    readonly backoffFactor: number
    readonly maxRetryIntervalMs: number
    readonly recoveryTimeoutMs: number
    readonly detectionIntervalMs: number
    readonly allowDataLoss: boolean
    /** Automatic recoveries begun at once on one node; null = twice its cores. */
    readonly concurrencyMax: number | null
  }
  /** When recovering is given up for a while: of one instance, and of all on a node. */
  readonly breaker: {
    readonly instanceEndsMax: number
    readonly instanceWindowMs: number
    readonly failuresMin: number
    readonly failureRatio: number
    readonly windowMs: number
    readonly openMs: number
    readonly openMsMax: number
    readonly trials: number
  }
}

const Threshold = z.number().int().min(1).max(1000)

const HealthCheckSection = z
  .strictObject({
    enabled: z.boolean().default(true),
    interval: Duration.default(30_000),
    timeout: Duration.default(5000),
    failure_threshold: Threshold.default(3),
    recovery_threshold: Threshold.default(2),
  })
  .transform((given) => ({
    enabled: given.enabled,
    intervalMs: given.interval,
    timeoutMs: given.timeout,
    failureThreshold: given.failure_threshold,
    recoveryThreshold: given.recovery_threshold,
  }))

const MAX_RETRY_INTERVAL_MS_DEFAULT = 300_000

const RecoverySection = z
  .strictObject({
    /** The older spelling: `enabled = false` reads as mode off, whatever `mode` says. */
    enabled: z.boolean().default(true),
    mode: RecoveryMode.default('on'),
    max_retries: z.number().int().min(1).max(1000).default(3),
    retry_interval: Duration.default(30_000),
    backoff_factor: z.number().min(1, 'must be 1 or more').max(100).default(2),
    max_retry_interval: Duration.optional(),
    recovery_timeout: Duration.default(600_000),
    detection_interval: Duration.default(60_000),
    allow_data_loss: z.boolean().default(false),
    max_concurrent: z.number().int().min(1).max(1000).optional(),
  })
  .refine((given) => given.max_retry_interval === undefined || given.max_retry_interval >= given.retry_interval, {
    path: ['max_retry_interval'],
    error: 'must not be shorter than retry_interval',
  })
  .transform((given) => ({
    mode: given.enabled ? given.mode : ('off' as const),
    maxRetries: given.max_retries,
    retryIntervalMs: given.retry_interval,
    backoffFactor: given.backoff_factor,
    // A longer first wait than the default cap raises the cap: the user named only one of the two.
    maxRetryIntervalMs: given.max_retry_interval ?? Math.max(MAX_RETRY_INTERVAL_MS_DEFAULT, given.retry_interval),
    recoveryTimeoutMs: given.recovery_timeout,
    detectionIntervalMs: given.detection_interval,
    allowDataLoss: given.allow_data_loss,
    concurrencyMax: given.max_concurrent ?? null,
  }))

const OPEN_MS_MAX_DEFAULT = 300_000

const BreakerSection = z
  .strictObject({
    instance_ends: z.number().int().min(1).max(1000).default(20),
    instance_window: Duration.default(600_000),
    failures: Threshold.default(5),
    failure_ratio: z.number().gt(0, 'must be more than 0').max(1, 'must be 1 or less').default(0.5),
    window: Duration.default(60_000),
    pause: Duration.default(30_000),
    max_pause: Duration.optional(),
    trials: Threshold.default(3),
  })
  .refine((given) => given.max_pause === undefined || given.max_pause >= given.pause, {
    path: ['max_pause'],
    error: 'must not be shorter than pause',
  })
  .transform((given) => ({
    instanceEndsMax: given.instance_ends,
    instanceWindowMs: given.instance_window,
    failuresMin: given.failures,
    failureRatio: given.failure_ratio,
    windowMs: given.window,
    openMs: given.pause,
    openMsMax: given.max_pause ?? Math.max(OPEN_MS_MAX_DEFAULT, given.pause),
    trials: given.trials,
  }))

/** The section as written in a file; parses to the compiled form. Usable inside a larger schema: an absent section gives the defaults. */
export const ReliabilitySection = z
  .strictObject({
    enabled: z.boolean().default(true),
    health_check: HealthCheckSection.prefault({}),
    recovery: RecoverySection.prefault({}),
    breaker: BreakerSection.prefault({}),
  })
  .transform(
    (given): ReliabilityConfig => ({
      enabled: given.enabled,
      healthCheck: given.health_check,
      recovery: given.recovery,
      breaker: given.breaker,
    }),
  )
  .prefault({})

export const DEFAULT_RELIABILITY: ReliabilityConfig = ReliabilitySection.parse({})

/** Parses the value of the `reliability` key (`undefined` = absent). The failure names every bad key by its full path. */
export function parseReliability(section: unknown): Result<ReliabilityConfig, Failure> {
  const parsed = ReliabilitySection.safeParse(section)
  if (parsed.success) return ok(parsed.data)
  const bad = parsed.error.issues.flatMap((issue) => {
    const at = ['reliability', ...issue.path].join('.')
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ key: `${at}.${key}`, why: 'unknown key' }))
    return [{ key: at, why: issue.message }]
  })
  return err(failure('invalid_config', `${bad.map(({ key, why }) => `${key}: ${why}`).join('; ')}.`, { fields: bad.map(({ key }) => key) }))
}
