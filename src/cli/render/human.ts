// Numbers and times for people. Everything is a function of its arguments: the same answer prints the same text.

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** A span as one or two units: `0s`, `45s`, `3m`, `2h05m`, `4d`. */
export function span(ms: number): string {
  const whole = Math.max(0, ms)
  if (whole < MINUTE_MS) return `${Math.floor(whole / 1000)}s`
  if (whole < HOUR_MS) return `${Math.floor(whole / MINUTE_MS)}m`
  if (whole < DAY_MS) return `${Math.floor(whole / HOUR_MS)}h${String(Math.floor((whole % HOUR_MS) / MINUTE_MS)).padStart(2, '0')}m`
  return `${Math.floor(whole / DAY_MS)}d`
}

/** Short spans keep their milliseconds: `12ms`, `1.4s`, then as `span`. */
export function shortSpan(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)}s` : span(ms)
}

/** How long ago, from an RFC 3339 time; `-` for none. */
export const ago = (time: string | null, nowMs: number): string => (time === null ? '-' : span(nowMs - Date.parse(time)))

/** `in 5s`, or `now` when it is due. */
export function until(time: string, nowMs: number): string {
  const ms = Date.parse(time) - nowMs
  return ms <= 0 ? 'now' : `in ${span(ms + 999)}`
}

/** Absolute and relative: `2026-11-21 05:34:11Z (3m ago)`. */
export const when = (time: string | null, nowMs: number): string => {
  if (time === null) return '-'
  const ms = Date.parse(time)
  const relative = ms > nowMs ? until(time, nowMs) : `${span(nowMs - ms)} ago`
  return `${absolute(time)} (${relative})`
}

/** To the second, in UTC, whatever fraction the server sent. */
export const absolute = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 19)}Z`

/** Time of day in UTC, for lines that follow each other. */
export const timeOfDay = (time: string): string => time.slice(11, 19)

const UNITS = ['B', 'Ki', 'Mi', 'Gi', 'Ti'] as const

/** `0 B`, `512 B`, `1.5Ki`, `128Mi`: at most one decimal. */
export function bytes(count: number | null): string {
  if (count === null) return '-'
  let value = count
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  if (unit === 0) return `${Math.round(value)} B`
  return `${value.toFixed(1).replace(/\.0$/, '')}${UNITS[unit] ?? ''}`
}

export const percent = (ratio: number | null): string => (ratio === null ? '-' : `${(ratio * 100).toFixed(1).replace(/\.0$/, '')}%`)

/** Text from elsewhere, made harmless: a terminal must not obey what a label or an error message says. */
export const harmless = (text: string): string =>
  text.replace(/[^\P{Cc}\n\t]/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)

/** One line of it. */
export const oneLine = (text: string): string => harmless(text.replace(/\s*[\r\n\t]+\s*/g, ' ').trim())
