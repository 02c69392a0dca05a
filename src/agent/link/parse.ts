// Text from control to messages. What cannot be understood is named and left out, item by item where a message carries a list: one
// instance whose spec this agent is too old for must not hide all the others from it.
import { Desired, FromControl } from '../../contracts/agent-protocol.ts'

export interface Parsed {
  readonly message: FromControl | null
  /** What was left out and why; empty when all was understood. */
  readonly dropped: readonly string[]
}

const DETAIL_CHARACTERS_MAX = 300

export function parseFromControl(text: string): Parsed {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    return { message: null, dropped: ['not JSON'] }
  }
  const whole = FromControl.safeParse(raw)
  if (whole.success) return { message: whole.data, dropped: [] }
  const rescued = rescueItems(raw)
  return rescued ?? { message: null, dropped: [`message ${describe(raw, 'type')}: ${first(whole.error)}`] }
}

function rescueItems(raw: unknown): Parsed | null {
  if (typeof raw !== 'object' || raw === null || !('type' in raw) || !('items' in raw) || !Array.isArray(raw.items)) return null
  if (raw.type !== 'welcome' && raw.type !== 'desired') return null
  const dropped: string[] = []
  const items = raw.items.filter((item: unknown) => {
    const parsed = Desired.safeParse(item)
    if (!parsed.success) dropped.push(`instance ${describe(item, 'id')}: ${first(parsed.error)}`)
    return parsed.success
  })
  const parsed = FromControl.safeParse({ ...raw, items })
  return parsed.success ? { message: parsed.data, dropped } : null
}

const first = (error: { readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[] }) =>
  error.issues
    .slice(0, 1)
    .map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    .join('')
    .slice(0, DETAIL_CHARACTERS_MAX)

const describe = (value: unknown, key: string): string =>
  typeof value === 'object' && value !== null ? String(JSON.stringify(Reflect.get(value, key))).slice(0, 64) : typeof value
