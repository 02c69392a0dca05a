// The log of a process: one JSON object per line, `{level, time, msg, component, …fields}`, level as a word and time in RFC 3339.
// Every line is written before the call returns, so that the last words before an exit or a crash are kept.
import { pino } from 'pino'
import type { Clock } from '../base/clock.ts'
import type { LogFields, Logger } from '../base/log.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** A logger that can name a part of the process. */
export interface TelemetryLogger extends Logger {
  child(component: string): TelemetryLogger
}

export interface LoggerOptions {
  readonly level: LogLevel
  readonly component: string
  /** A stream, or a file descriptor; standard error when absent. */
  readonly destination?: { write(line: string): unknown } | number
  /** Source of `time`; the system's when absent. */
  readonly clock?: Pick<Clock, 'wallMs'>
}

export function createLogger(options: LoggerOptions): TelemetryLogger {
  const given = options.destination ?? 2
  const destination = typeof given === 'number' ? pino.destination({ fd: given, sync: true }) : given
  const { clock } = options
  const root = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'msg',
      timestamp: clock ? () => `,"time":"${new Date(clock.wallMs()).toISOString()}"` : pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  )
  return wrap(root, options.component)
}

type Sink = Pick<ReturnType<typeof pino>, LogLevel>

function wrap(sink: Sink, component: string): TelemetryLogger {
  const write = (level: LogLevel) => (msg: string, fields?: LogFields) => sink[level]({ component, ...fields }, msg)
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (name) => wrap(sink, name),
  }
}
