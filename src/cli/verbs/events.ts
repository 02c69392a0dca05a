import { ok, type Result } from '../../base/result.ts'
import type { Client } from '../../client/client.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { EventView } from '../../contracts/views.ts'
import { EXIT } from '../exit.ts'
import { flag, text, whole } from '../flags.ts'
import type { Output } from '../output.ts'
import { absolute, oneLine } from '../render/human.ts'
import { type Column, cutTo, table } from '../render/table.ts'
import { collect, connect } from '../session.ts'
import { verb } from '../verb.ts'

const LIMIT = 50
const LAST_MAX = 200
const FOLLOW_SHOWS = 10

/** What happened, in words where it is a transition, as `key=value` words otherwise. */
export function eventText(event: EventView): string {
  const { from, to, reason, incarnation, error } = event.data
  if (event.type === 'instance.state_changed') {
    const code = typeof error === 'object' && error !== null && 'code' in error ? `, ${String(error.code)}` : ''
    return oneLine(`${String(from ?? 'nothing')} → ${String(to)}: ${String(reason)}${code}, run ${String(incarnation)}`)
  }
  const words = Object.entries(event.data)
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
  return oneLine(words.join(' '))
}

const COLUMNS: readonly Column<EventView>[] = [
  { head: 'CURSOR', cell: (event) => event.cursor, right: true, spare: true },
  { head: 'TIME', cell: (event) => absolute(event.at) },
  { head: 'TYPE', cell: (event) => event.type, shrinksTo: 12 },
  { head: 'INSTANCE', cell: (event) => event.instance_id ?? '-', shrinksTo: 14, spare: true },
  { head: 'NODE', cell: (event) => event.node_id ?? '-', shrinksTo: 6, spare: true },
  { head: 'WHAT', cell: eventText, shrinksTo: 20 },
]

function show(out: Output, event: EventView): Promise<void> {
  const line = `${event.cursor} ${absolute(event.at)} ${event.type} ${event.instance_id ?? event.node_id ?? '-'} ${eventText(event)}`
  return out.value(event, () => `${cutTo(line, out.columns)}\n`)
}

export const events = verb({
  name: 'events',
  args: '',
  group: 'Look',
  summary: 'Show what happened, oldest first',
  more: 'Without --after: the newest ones. With --after: those that follow the cursor. With -f: and then each new one.',
  flags: {
    follow: flag('-f, --follow', 'go on with each new event'),
    after: text('--after <cursor>', 'only events after this cursor'),
    instance: text('--instance <id>', 'only events of this instance'),
    limit: whole(
      '-n, --limit <n>',
      `at most this many (default ${LIMIT}); with -f: begin with this many (default ${FOLLOW_SHOWS})`,
      1,
      1_000_000,
    ),
  },
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const { instance } = flags
    if (flags.follow) {
      const asked = { last: Math.min(flags.limit ?? FOLLOW_SHOWS, LAST_MAX), ...(instance !== undefined && { instance }) }
      const ended = await follow(client.value, out, asked, flags.after)
      return ended.ok ? ok(EXIT.ok) : ended
    }
    const limit = flags.limit ?? LIMIT
    // The newest ones first asked for fix where to begin; beyond what the server gives at once, the user names a cursor.
    const start = flags.after !== undefined ? { after: flags.after } : { last: Math.min(limit, LAST_MAX) }
    const listed = await collect(limit, ({ limit: size, cursor }) =>
      client.value.call('listEvents', { query: { limit: size, instance, ...(cursor === undefined ? start : { after: cursor }) } }),
    )
    if (!listed.ok) return listed
    const { items, more } = listed.value
    await out.value(items, () => (items.length === 0 ? 'no events\n' : table(items, COLUMNS, out.columns, out.paint)))
    if (more) await out.note(`there are more: holdfast events --after ${items.at(-1)?.cursor ?? ''}`)
    return ok(EXIT.ok)
  },
})

/** Without a cursor: a few of the newest for orientation, then what comes. Ends by a failure only. */
async function follow(
  client: Client,
  out: Output,
  { last, ...instance }: { readonly last: number; readonly instance?: string },
  from: string | undefined,
): Promise<Result<unknown, Failure>> {
  for (let start = from; ; start = undefined) {
    const first = start === undefined ? await client.call('listEvents', { query: { last, ...instance } }) : ok({ items: [] })
    if (!first.ok) return first
    for (const event of first.value.items) await show(out, event)
    const after = start ?? first.value.items.at(-1)?.cursor
    const ended = await client.events(
      {
        follow: true,
        ...(after !== undefined && { after }),
        ...instance,
        onReconnect: (why) => void out.note(`connection lost (${why.detail}); trying again`),
      },
      (event) => show(out, event),
    )
    // Whoever watches wants to see what happens now, and not to be told in the morning that the watching had ended.
    const newest = ended.ok ? undefined : ended.error.fields?.newest
    if (newest === undefined) return ended
    await out.note(
      `its newest event is ${String(newest)}: the database was restored or is another one; starting over with the newest events`,
    )
  }
}
