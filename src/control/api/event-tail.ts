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

export interface EventTail {
  /** The newest cursor there is now. */
  latest(): Promise<Result<number, Failure>>
  /** What is known after the cursor; empty when that is nothing. */
  after(cursor: number, filter: EventFilter): Promise<Result<EventBatch, Failure>>
  /** Resolves when there may be more than up to the cursor, when some time has passed, or when aborted. */
  changed(cursor: number, signal: AbortSignal): Promise<void>
  close(): void
}

const PAGE = 200

export function createEventTail(deps: Pick<ApiDeps, 'store' | 'clock' | 'limits' | 'log'>): EventTail {
  const { store, clock, limits } = deps
  let tail: EventRecord[] = []
  /** The tail holds every event after `base` up to `head`; null = nothing read yet. */
  let base: number | null = null
  let head = 0
  let reading: Promise<Result<void, Failure>> | null = null
  let again = false
  const waiting = new Set<() => void>()

  const append = (events: readonly EventRecord[], last: EventRecord) => {
    tail.push(...events)
    head = last.cursor
    const surplus = tail.length - limits.eventTailMax
    if (surplus > 0) {
      base = tail[surplus - 1]?.cursor ?? base
      tail = tail.slice(surplus)
    }
    for (const look of [...waiting]) look()
  }
  const readOnce = async (): Promise<Result<void, Failure>> => {
    if (base === null) {
      const newest = await latestCursor(store.db)
      if (!newest.ok) return newest
      base = newest.value
      head = newest.value
    }
    for (;;) {
      const page = await listEvents(store.db, { scope: null, after: head, limit: PAGE })
      if (!page.ok) return page
      const last = page.value.at(-1)
      if (last === undefined) return ok(undefined)
      append(page.value, last)
    }
  }
  const readUntilQuiet = async (): Promise<Result<void, Failure>> => {
    try {
      for (;;) {
        again = false
        const done = await readOnce()
        if (!done.ok || !again) return done
      }
    } catch (error) {
      deps.log.error('reading events failed', { error: error instanceof Error ? error.message : String(error) })
      return err(failure('internal', 'The events could not be read.', undefined, error))
    } finally {
      reading = null
    }
  }
  /** One read at a time; a wish during one leads to one more look. */
  const refresh = (): Promise<Result<void, Failure>> => {
    again = true
    reading ??= readUntilQuiet()
    return reading
  }
  const stop = store.listen((change) => {
    if (waiting.size > 0 && (change === null || change.kind === 'event')) void refresh()
  })

  return {
    async latest() {
      const fresh = await refresh()
      return fresh.ok ? ok(head) : fresh
    },
    async after(cursor, filter) {
      if (base === null) {
        const fresh = await refresh()
        if (!fresh.ok) return fresh
      }
      const from = base ?? 0
      if (cursor >= from)
        return ok({ events: tail.slice(firstAfter(tail, cursor)).filter((event) => matches(event, filter)), upTo: Math.max(cursor, head) })
      const query = { scope: filter.scope, after: cursor, limit: PAGE, ...(filter.instanceId && { instanceId: filter.instanceId }) }
      const page = await listEvents(store.db, query)
      if (!page.ok) return page
      const last = page.value.at(-1)?.cursor ?? cursor
      // A page that is not full looked at everything there was, so certainly at all up to where the tail began.
      return ok({ events: page.value, upTo: page.value.length < PAGE ? Math.max(last, from) : last })
    },
    changed(cursor, signal) {
      if (head > cursor || signal.aborted) return Promise.resolve()
      return new Promise((resolve) => {
        const done = () => {
          waiting.delete(look)
          cancel()
          signal.removeEventListener('abort', done)
          resolve()
        }
        const look = () => {
          if (head > cursor) done()
        }
        const cancel = clock.after(limits.eventPollMs, done)
        waiting.add(look)
        signal.addEventListener('abort', done, { once: true })
        // A notification between the caller's last look and now would have woken nobody.
        void refresh()
      })
    },
    close: stop,
  }
}

function matches(event: EventRecord, filter: EventFilter): boolean {
  if (filter.scope !== null && event.orgId !== null && event.orgId !== filter.scope) return false
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
