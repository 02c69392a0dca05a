// Events: a JSON page, or with `Accept: text/event-stream` an endless stream that `Last-Event-ID` resumes. A stream ends with the
// event `closing` when the server shuts down or the reader is too slow; the reader then comes back with the last id it has.
import type { ServerResponse } from 'node:http'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { EventRecord } from '../model/event.ts'
import { eventView } from '../model/views.ts'
import { cursorBeforeLast, latestCursor, listEvents } from '../store/events.ts'
import { findInstance } from '../store/instances.ts'
import type { Context, Handlers, StreamHandlers } from './context.ts'
import type { ApiDeps } from './deps.ts'
import { type EventFilter, type EventTail, isVisible } from './event-tail.ts'
import { endOrCut, writeOut } from './raw-stream.ts'
import { withinStoreTime } from './store-time.ts'

type Given = ApiDeps & { readonly tail: EventTail }
type Deps = Given & { readonly frame: (event: EventRecord) => string }

export function eventHandlers(given: Given): Pick<Handlers, 'instanceEvents'> & Pick<StreamHandlers, 'listEvents'> {
  const deps: Deps = { ...given, frame: framing() }
  let open = 0
  return {
    async instanceEvents({ params, query, scope }) {
      const found = await findInstance(deps.store.db, params.id, scope)
      if (!found.ok) return found
      const filter = { scope, instanceId: found.value.id }
      const after = await startOf(deps, filter, query.after, query.last)
      return after.ok ? readPage(deps, filter, after.value, query.limit) : after
    },
    async listEvents(context, { request, response }) {
      const prepared = await withinStoreTime(deps, prepare(deps, context, request.headers['last-event-id']), false)
      if (!prepared.ok) return prepared
      const { filter, after } = prepared.value
      if (!wantsStream(request.headers.accept)) return withinStoreTime(deps, readPage(deps, filter, after, context.query.limit), false)
      if (open >= deps.limits.eventStreamsMax)
        return err(
          failure('shutting_down', `${open} event streams are open, which is the limit; close some or use pages.`, {
            limit: deps.limits.eventStreamsMax,
          }),
        )
      open += 1
      try {
        await serve(deps, response, filter, after, context)
        return ok(null)
      } finally {
        open -= 1
      }
    },
  }
}

const wantsStream = (accept: string | undefined) => accept?.includes('text/event-stream') === true

async function prepare(
  deps: Deps,
  context: Context<'listEvents'>,
  lastEventId: string | string[] | undefined,
): Promise<Result<{ filter: EventFilter; after: number }, Failure>> {
  const { query, scope } = context
  let instanceId: InstanceId | null = null
  if (query.instance !== undefined) {
    const found = await findInstance(deps.store.db, query.instance, scope)
    if (!found.ok) return found
    instanceId = found.value.id
  }
  const filter = { scope, instanceId }
  // A reader that reconnects has the same URL as at first: what it has seen since is newer.
  const after = await startOf(deps, filter, typeof lastEventId === 'string' && lastEventId !== '' ? lastEventId : query.after, query.last)
  return after.ok ? ok({ filter, after: after.value }) : after
}

async function startOf(
  deps: Deps,
  { scope, instanceId }: EventFilter,
  after: string | undefined,
  last: number | undefined,
): Promise<Result<number, Failure>> {
  if ((after !== undefined && after !== '') || last === undefined) {
    const cursor = cursorOf(after)
    return cursor.ok && cursor.value > 0 ? refuseFuture(deps, cursor.value) : cursor
  }
  return cursorBeforeLast(deps.store.db, { scope, ...(instanceId && { instanceId }) }, last)
}

/** A cursor of a log that is no longer this one: its reader would wait in silence for events that come under other numbers. */
async function refuseFuture(deps: Deps, cursor: number): Promise<Result<number, Failure>> {
  const newest = await latestCursor(deps.store.db)
  // A log of which everything was trimmed says nothing about cursors.
  if (!newest.ok || newest.value === 0 || cursor <= newest.value) return newest.ok ? ok(cursor) : newest
  const detail = `after: ${cursor} is beyond the newest event, ${newest.value}; was the database restored? Read everything anew, then go on from ${newest.value}`
  return err(failure('invalid_input', detail, { field: 'after', newest: String(newest.value) }))
}

function cursorOf(text: string | undefined): Result<number, Failure> {
  if (text === undefined || text === '') return ok(0)
  const cursor = /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined
  return cursor === undefined ? err(failure('invalid_input', 'after: must be a cursor, a whole number', { field: 'after' })) : ok(cursor)
}

async function readPage(deps: Deps, filter: EventFilter, after: number, limit: number) {
  const page = await listEvents(deps.store.db, {
    scope: filter.scope,
    after,
    limit: limit + 1,
    ...(filter.instanceId && { instanceId: filter.instanceId }),
  })
  if (!page.ok) return page
  const seen = page.value.slice(0, limit)
  const shown = seen.filter((event) => isVisible(event, filter.scope))
  return ok({ body: { items: shown.map(eventView), next_cursor: page.value.length > limit ? String(seen.at(-1)?.cursor) : null } })
}

async function serve(
  deps: Deps,
  response: ServerResponse,
  filter: EventFilter,
  from: number,
  context: Context<'listEvents'>,
): Promise<void> {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    'x-request-id': context.requestId,
  })
  response.flushHeaders()
  const leave = deps.tail.join()
  try {
    const { taken, cursor } = await feed(deps, response, filter, from, context.signal)
    if (response.destroyed) return
    response.write(
      `event: closing\ndata: ${JSON.stringify({ reason: taken ? 'shutting_down' : 'slow_reader', cursor: String(cursor) })}\n\n`,
    )
    endOrCut(response, deps.clock)
  } finally {
    leave()
  }
}

/** Until the reader is gone, takes nothing any more (`taken` is false), or the server closes. */
async function feed(
  deps: Deps,
  response: ServerResponse,
  filter: EventFilter,
  from: number,
  signal: AbortSignal,
): Promise<{ taken: boolean; cursor: number }> {
  const { clock, limits } = deps
  const send = (text: string) => writeOut(response, text, clock, limits.slowReaderMs)
  let cursor = from
  let spokeMs = clock.elapsedMs()
  let taken = await send(': connected\n\n')
  while (taken && !signal.aborted) {
    const batch = await deps.tail.after(cursor, filter)
    // A store that is away for a while ends no stream: the reader would only come back at once.
    const text = batch.ok ? batch.value.events.map(deps.frame).join('') : ''
    if (batch.ok) cursor = batch.value.upTo
    else await pause(clock, limits.eventPollMs, signal)
    const due = spokeMs + limits.eventHeartbeatMs <= clock.elapsedMs()
    if (text !== '' || due) {
      taken = await send(text === '' ? ': heartbeat\n\n' : text)
      spokeMs = clock.elapsedMs()
    }
    if (taken) await deps.tail.changed(cursor, Math.max(0, spokeMs + limits.eventHeartbeatMs - clock.elapsedMs()), signal)
  }
  return { taken, cursor }
}

async function pause(clock: Deps['clock'], ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal)
  } catch {
    // Aborted: the caller looks at the signal next.
  }
}

/** A frame is made once per event, however many readers there are. */
function framing(): (event: EventRecord) => string {
  const frames = new WeakMap<EventRecord, string>()
  return (event) => {
    const known = frames.get(event)
    if (known !== undefined) return known
    const text = `id: ${event.cursor}\nevent: ${event.type}\ndata: ${JSON.stringify(eventView(event))}\n\n`
    frames.set(event, text)
    return text
  }
}
