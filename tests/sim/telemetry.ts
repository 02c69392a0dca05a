// What a simulated process says and counts, kept in memory.
import type { LogFields } from '../../src/base/log.ts'
import type { Meter, MetricName } from '../../src/contracts/metrics.ts'
import type { TelemetryLogger } from '../../src/telemetry/logger.ts'

type Said = (level: 'debug' | 'info' | 'warn' | 'error', component: string, msg: string, fields: LogFields) => void

export class SimLog implements TelemetryLogger {
  readonly #said: Said
  readonly #component: string

  constructor(said: Said, component = '') {
    this.#said = said
    this.#component = component
  }
  child(component: string): TelemetryLogger {
    return new SimLog(this.#said, component)
  }
  debug(_msg: string, _fields: LogFields = {}): void {}
  info(msg: string, fields: LogFields = {}): void {
    this.#said('info', this.#component, msg, fields)
  }
  warn(msg: string, fields: LogFields = {}): void {
    this.#said('warn', this.#component, msg, fields)
  }
  error(msg: string, fields: LogFields = {}): void {
    this.#said('error', this.#component, msg, fields)
  }
}

type Reading = { readonly labels?: Readonly<Record<string, string>>; readonly value: number }

export class SimMeter implements Meter {
  readonly #counts = new Map<string, number>()
  readonly #gauges = new Map<string, () => readonly Reading[]>()

  count(name: MetricName, labels: Readonly<Record<string, string>> = {}, by = 1): void {
    const key = [name, ...Object.values(labels)].join(' ')
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + by)
  }
  observe(): void {}
  gauge(name: MetricName, read: () => readonly Reading[]): void {
    this.#gauges.set(name, read)
  }
  /** The sum of all that begin with these words. */
  counted(...words: readonly string[]): number {
    const prefix = words.join(' ')
    return [...this.#counts].filter(([key]) => key === prefix || key.startsWith(`${prefix} `)).reduce((sum, [, value]) => sum + value, 0)
  }
  read(name: MetricName): number {
    return (this.#gauges.get(name)?.() ?? []).reduce((sum, { value }) => sum + value, 0)
  }
}
