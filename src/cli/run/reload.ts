// SIGHUP of what was not started in a terminal: the `[reliability]` section is read again and holds from then on, without touching a workload.
// A configuration that is not valid changes nothing and is told by name. Other sections need a restart, and are named too.
import { canonical } from '../../base/hash.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { HoldfastConfig } from '../../contracts/config.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { LoadedConfig } from '../config/load.ts'

export interface ReloadParts {
  readonly log: Logger
  /** What the process was started with. */
  readonly started: HoldfastConfig
  load(): Promise<Result<LoadedConfig, Failure>>
  apply(reliability: ReliabilityConfig): void
}

/** Each call reads once more; calls while one reads fold into one further reading. Never rejects. */
export function createReload({ log, started, load, apply }: ReloadParts): () => Promise<void> {
  let inForce = started.reliability
  let reading: Promise<void> | undefined
  let again = false

  const readOnce = async () => {
    const loaded = await load()
    if (!loaded.ok) {
      log.error('configuration refused', {
        error_code: loaded.error.code,
        error: loaded.error.detail,
        keys: String(loaded.error.fields?.keys ?? ''),
      })
      return
    }
    const { config, file } = loaded.value
    const changed = differing('reliability', inForce, config.reliability)
    const restart = differing('', { ...started, reliability: null }, { ...config, reliability: null })
    inForce = config.reliability
    if (changed.length > 0) apply(inForce)
    log.info('configuration reloaded', { file, changed: changed.join() })
    if (restart.length > 0) log.warn('configuration needs a restart', { file, changed: restart.join() })
  }
  return () => {
    if (reading !== undefined) {
      again = true
      return reading
    }
    reading = (async () => {
      do {
        again = false
        await readOnce()
      } while (again)
    })()
      .catch((error: unknown) => log.error('configuration refused', { error_code: 'internal', error: String(error), keys: '' }))
      .finally(() => {
        reading = undefined
      })
    return reading
  }
}

/** The leaves that differ, by their compiled names. */
function differing(at: string, before: unknown, after: unknown): readonly string[] {
  if (isTable(before) && isTable(after))
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
      differing(at === '' ? key : `${at}.${key}`, before[key], after[key]),
    )
  return canonical(before) === canonical(after) ? [] : [at]
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
