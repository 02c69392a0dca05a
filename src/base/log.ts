/** Fields of one log line: flat, snake_case, never a secret. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

/** Structured logger. Messages are constant lower-case strings; variable data goes into fields. */
export interface Logger {
  debug(msg: string, fields?: LogFields): void
  info(msg: string, fields?: LogFields): void
  warn(msg: string, fields?: LogFields): void
  error(msg: string, fields?: LogFields): void
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
