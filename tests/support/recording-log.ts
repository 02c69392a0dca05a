import type { LogFields, Logger } from '../../src/base/log.ts'

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly msg: string
  readonly fields: LogFields
}

/** Keeps what was logged, for tests about what is said and what is not. */
export class RecordingLog implements Logger {
  readonly lines: LogLine[] = []
  debug(msg: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'debug', msg, fields })
  }
  info(msg: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'info', msg, fields })
  }
  warn(msg: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'warn', msg, fields })
  }
  error(msg: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'error', msg, fields })
  }
  /** Everything above DEBUG, as `level msg`. */
  said(): readonly string[] {
    return this.lines.filter((line) => line.level !== 'debug').map((line) => `${line.level} ${line.msg}`)
  }
}
