// What a write says while it is in progress, kept until it is committed.
import type { ChangeKey, NewAudit, NewEvent } from '../model/event.ts'

/** Beyond this many changes in one write everybody looks at everything once, instead of at each. */
const CHANGES_MAX = 256

export class WriteBuffer {
  readonly events: NewEvent[] = []
  readonly audits: NewAudit[] = []
  readonly #changes = new Map<string, ChangeKey>()

  readonly emit = (event: NewEvent): void => void this.events.push(event)
  readonly audit = (row: NewAudit): void => void this.audits.push(row)
  readonly changed = (change: ChangeKey): void => void this.#changes.set(`${change.kind} ${change.id}`, change)

  /** Each change once; null = too many to name. */
  changes(): readonly (ChangeKey | null)[] {
    const named = [...this.#changes.values()]
    if (this.events.length > 0) named.push({ kind: 'event', id: '' })
    return named.length > CHANGES_MAX ? [null] : named
  }
}
