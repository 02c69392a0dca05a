// The newest events in memory, read from the store once for all readers. Woken by notifications, and by time because those can
// be lost. Readers within the tail cost no query; one that is behind reads pages by itself until it is.
// The store's order has no gaps, so "everything up to n" is a promise that can be kept: no event is ever skipped or given twice.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { EventRecord } from '../model/event.ts'
import type { OrgScope } from '../model/org.ts'
import { latestCursor, listEvents } from '../store/events.ts'
import type { ApiDeps } from './deps.ts'

export interface EventFilter {
  readonly scope: OrgScope
  readonly instanceId: InstanceId | null
}

export interface EventBatch {
  readonly events: readonly EventRecord[]
  /** Everything up to here has been considered. */
  readonly upTo: number
}

const PAGE = 200

type TailDeps = Pick<ApiDeps, 'store' | 'clock' | 'limits' | 'log'>

export class EventTail {
  readonly #deps: TailDeps
  readonly #waiting = new Set<() => void>()
  readonly #stop: () => void
  #tail: EventRecord[] = []
  /** The tail holds every event after `base` up to `head`; null = nothing read yet. */
  #base: number | null = null
  #head = 0
  #reading: Promise<Result<void, Failure>> | null = null
  #again = false
  #readers = 0
  #cancelPoll = () => {}

  constructor(deps: TailDeps) {
    this.#deps = deps
    this.#stop = deps.store.listen((change) => {
      if (this.#readers > 0 && (change === null || change.kind === 'event')) void this.#refresh()
    })
  }

  /** While there are readers the tail is kept fresh; the returned function ends one reader. */
  join(): () => void {
    // Nobody has kept the tail fresh: it begins anew, for what happened in between may be a whole day's events.
    if (this.#readers === 0 && this.#reading === null) {
      this.#base = null
      this.#head = 0
      this.#tail = []
    }
    this.#readers += 1
    void this.#refresh()
    if (this.#readers === 1) this.#poll()
    let joined = true
    return () => {
      if (!joined) return
      joined = false
      this.#readers -= 1
      if (this.#readers === 0) this.#cancelPoll()
    }
  }

  /** What is known after the cursor; empty when that is nothing. */
  async after(cursor: number, filter: EventFilter): Promise<Result<EventBatch, Failure>> {
    if (this.#base === null) {
      const fresh = await this.#refresh()
      if (!fresh.ok) return fresh
    }
    const base = this.#base ?? 0
    if (cursor >= base) {
      const newer = this.#tail.slice(firstAfter(this.#tail, cursor))
      return ok({ events: newer.filter((event) => matches(event, filter)), upTo: Math.max(cursor, this.#head) })
    }
    const query = { scope: filter.scope, after: cursor, limit: PAGE, ...(filter.instanceId && { instanceId: filter.instanceId }) }
    const page = await listEvents(this.#deps.store.db, query)
    if (!page.ok) return page
    const last = page.value.at(-1)?.cursor ?? cursor
    // A page that is not full looked at everything there was, so certainly at all up to where the tail began.
    return ok({
      events: page.value.filter((event) => isVisible(event, filter.scope)),
      upTo: page.value.length < PAGE ? Math.max(last, base) : last,
    })
  }

  /** Resolves when there is more than up to the cursor, when the time is over, or when aborted. For those who have joined. */
  changed(cursor: number, forMs: number, signal: AbortSignal): Promise<void> {
    if (this.#head > cursor || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const done = () => {
        this.#waiting.delete(look)
        cancel()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const look = () => {
        if (this.#head > cursor) done()
      }
      const cancel = this.#deps.clock.after(forMs, done)
      this.#waiting.add(look)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  close(): void {
    this.#stop()
    this.#cancelPoll()
  }

  /** Notifications may be lost: one look for all readers now and then. */
  #poll(): void {
    this.#cancelPoll = this.#deps.clock.after(this.#deps.limits.eventPollMs, () => {
      void this.#refresh()
      this.#poll()
    })
  }

  /** One read at a time; a wish during one leads to one more look. Never rejects. */
  #refresh(): Promise<Result<void, Failure>> {
    this.#again = true
    this.#reading ??= this.#readUntilQuiet()
    return this.#reading
  }

  async #readUntilQuiet(): Promise<Result<void, Failure>> {
    try {
      for (;;) {
        this.#again = false
        const done = await this.#readOnce()
        if (!done.ok || !this.#again) return done
      }
    } catch (error) {
      this.#deps.log.error('reading events failed', { error: error instanceof Error ? error.message : String(error) })
      return err(failure('internal', 'The events could not be read.', undefined, error))
    } finally {
      this.#reading = null
    }
  }

  async #readOnce(): Promise<Result<void, Failure>> {
    const { db } = this.#deps.store
    if (this.#base === null) {
      const newest = await latestCursor(db)
      if (!newest.ok) return newest
      this.#base = newest.value
      this.#head = newest.value
    }
    for (;;) {
      const page = await listEvents(db, { scope: null, after: this.#head, limit: PAGE })
      if (!page.ok) return page
      const last = page.value.at(-1)
      if (last === undefined) return ok(undefined)
      this.#append(page.value, last)
    }
  }

  #append(events: readonly EventRecord[], last: EventRecord): void {
    this.#tail.push(...events)
    this.#head = last.cursor
    const surplus = this.#tail.length - this.#deps.limits.eventTailMax
    if (surplus > 0) {
      this.#base = this.#tail[surplus - 1]?.cursor ?? this.#base
      this.#tail = this.#tail.slice(surplus)
    }
    for (const look of [...this.#waiting]) look()
  }
}

/** Nodes are everybody's; what else has no organisation (a token of the whole platform) is the platform's alone. */
export function isVisible(event: EventRecord, scope: OrgScope): boolean {
  return scope === null || event.orgId === scope || (event.orgId === null && event.type.startsWith('node.'))
}

function matches(event: EventRecord, filter: EventFilter): boolean {
  if (!isVisible(event, filter.scope)) return false
  return filter.instanceId === null || event.instanceId === filter.instanceId
}

/** Index of the first event after the cursor; the tail is in order. */
function firstAfter(tail: readonly EventRecord[], cursor: number): number {
  let low = 0
  let high = tail.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((tail[middle]?.cursor ?? 0) <= cursor) low = middle + 1
    else high = middle
  }
  return low
}
