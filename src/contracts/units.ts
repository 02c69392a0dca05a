// Human units in, base units inside: memory text to bytes, durations to milliseconds, vCPU to thousandths.
import { z } from 'zod'

const MEMORY = /^([1-9][0-9]*)(Mi|Gi)$/
export const MEMORY_BYTES_MIN = 4 * 2 ** 20
export const MEMORY_BYTES_MAX = 16 * 2 ** 40
export const MEMORY_BYTES_DEFAULT = 256 * 2 ** 20
export const CPU_MIN = 0.001
export const CPU_MAX = 64

const MEMORY_HINT = 'must be a whole number with Mi or Gi, such as 512Mi or 2Gi'

/** `"512Mi"`, `"2Gi"` to bytes; undefined for anything else. */
export function parseMemory(text: string): number | undefined {
  const match = MEMORY.exec(text)
  if (!match) return undefined
  const bytes = Number(match[1]) * (match[2] === 'Gi' ? 2 ** 30 : 2 ** 20)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Bytes as the shortest exact text: `536870912` gives `512Mi`; what is not whole Mi is given in bytes. */
export function formatMemory(bytes: number): string {
  if (bytes % 2 ** 30 === 0) return `${bytes / 2 ** 30}Gi`
  if (bytes % 2 ** 20 === 0) return `${bytes / 2 ** 20}Mi`
  return `${bytes} B`
}

const DURATION_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/** `"30s"`, `"500ms"`, `"5m"`, `"1.5h"` to milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$/.exec(text)
  if (!match) return undefined
  const ms = Number(match[1]) * DURATION_MS[match[2] as keyof typeof DURATION_MS]
  return Number.isFinite(ms) ? Math.round(ms) : undefined
}

/** Memory text in, bytes out. */
export const Memory = z.string().transform((text, ctx) => {
  const bytes = parseMemory(text)
  if (bytes === undefined || bytes < MEMORY_BYTES_MIN || bytes > MEMORY_BYTES_MAX) {
    ctx.addIssue({ code: 'custom', message: bytes === undefined ? MEMORY_HINT : 'must be from 4Mi to 16384Gi' })
    return z.NEVER
  }
  return bytes
})

/** vCPU as a decimal number, a relative share: 0.001 to 64. */
const CPU_HINT = `must be from ${CPU_MIN} to ${CPU_MAX}`
export const Cpu = z.number().min(CPU_MIN, CPU_HINT).max(CPU_MAX, CPU_HINT)

/** Duration text in, milliseconds out; more than zero. */
export const Duration = z.string().transform((text, ctx) => {
  const ms = parseDuration(text)
  if (ms === undefined || ms <= 0) {
    ctx.addIssue({ code: 'custom', message: 'must be a duration greater than zero, such as 500ms, 30s, 5m or 1h' })
    return z.NEVER
  }
  return ms
})
