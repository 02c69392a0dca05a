/** A duration for a sentence: `250 ms`, `1.5 s`, `1 min 30 s`, `2 h 5 min`. For programs there are fields in milliseconds. */
export function durationText(ms: number): string {
  if (Math.round(ms) < 1000) return `${Math.round(ms)} ms`
  const tenths = Math.round(ms / 100)
  if (tenths < 600) return `${tenths / 10} s`
  const seconds = Math.round(ms / 1000)
  const minutes = Math.floor(seconds / 60)
  return minutes < 60 ? join(minutes, 'min', seconds % 60, 's') : join(Math.floor(minutes / 60), 'h', minutes % 60, 'min')
}

const join = (first: number, unit: string, rest: number, restUnit: string): string =>
  rest === 0 ? `${first} ${unit}` : `${first} ${unit} ${rest} ${restUnit}`
