import { ok } from '../../base/result.ts'
import type { AuditView } from '../../contracts/views.ts'
import { EXIT } from '../exit.ts'
import { whole } from '../flags.ts'
import { absolute } from '../render/human.ts'
import { type Column, table } from '../render/table.ts'
import { collect, connect, moreNote } from '../session.ts'
import { verb } from '../verb.ts'

const LIMIT = 50

const COLUMNS: readonly Column<AuditView>[] = [
  { head: 'TIME', cell: (row) => absolute(row.at) },
  { head: 'ACTOR', cell: (row) => row.actor, shrinksTo: 12 },
  { head: 'ACTION', cell: (row) => row.action, shrinksTo: 10 },
  { head: 'TARGET', cell: (row) => row.target, shrinksTo: 16 },
  { head: 'OUTCOME', cell: (row) => row.outcome, shade: (row) => (row.outcome === 'refused' ? 'bad' : undefined) },
  { head: 'REQUEST', cell: (row) => row.request_id ?? '-', shade: () => 'dim', shrinksTo: 8, spare: true },
]

export const audit = verb({
  name: 'audit',
  args: '',
  group: 'Look',
  summary: 'Show who did what, newest first',
  flags: { limit: whole('-n, --limit <n>', `at most this many (default ${LIMIT})`, 1, 1_000_000) },
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const listed = await collect(flags.limit ?? LIMIT, (query) => client.value.call('listAudit', { query: { ...query } }))
    if (!listed.ok) return listed
    const { items, more } = listed.value
    await out.value(items, () => (items.length === 0 ? 'nothing was done yet\n' : table(items, COLUMNS, out.columns, out.paint)))
    if (more) await out.note(moreNote(items.length))
    return ok(EXIT.ok)
  },
})
