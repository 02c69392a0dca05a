// Times as people say them. Rounded down: "3 m" means at least three minutes.

/** `5 s`, `3 min 20 s`, `2 h 5 min`, `4 d`. */
export function spanText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 1) return 'less than a second'
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return join(`${minutes} min`, seconds % 60, 's')
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return join(`${hours} h`, minutes % 60, 'min')
  return `${Math.floor(hours / 24)} d`
}

const join = (first: string, rest: number, unit: string) => (rest === 0 ? first : `${first} ${rest} ${unit}`)

export const ago = (thenMs: number, nowMs: number): string => `${spanText(nowMs - thenMs)} ago`

/** `in 28 s`, or `now` when the time has come. */
export const inTime = (thenMs: number, nowMs: number): string => (thenMs - nowMs < 1000 ? 'now' : `in ${spanText(thenMs - nowMs)}`)
