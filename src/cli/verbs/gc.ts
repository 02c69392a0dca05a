import { ok } from '../../base/result.ts'
import type { GarbageView } from '../../contracts/views.ts'
import { EXIT } from '../exit.ts'
import { flag, text } from '../flags.ts'
import type { Output } from '../output.ts'
import { bytes, span } from '../render/human.ts'
import { type Column, table } from '../render/table.ts'
import { connect } from '../session.ts'
import { verb } from '../verb.ts'

type Candidate = GarbageView['candidates'][number]
type Item = GarbageView['collected'][number]

const itemColumns = <Row extends Item>(): readonly Column<Row>[] => [
  { head: 'NODE', cell: (row) => row.node_id ?? '-', shrinksTo: 10, spare: true },
  { head: 'KIND', cell: (row) => row.kind },
  { head: 'ID', cell: (row) => (row.incarnation === null ? row.id : `${row.id}/${row.incarnation}`), shrinksTo: 14 },
  { head: 'REASON', cell: (row) => row.reason },
  { head: 'AGE', cell: (row) => span(row.age_ms), right: true },
  { head: 'SIZE', cell: (row) => bytes(row.bytes), right: true },
]

const dueText = ({ due, due_in_ms: inMs }: Candidate): string => (due ? 'now' : inMs === null ? 'held back' : `in ${span(inMs + 999)}`)

export const gc = verb({
  name: 'gc',
  args: '',
  group: 'Operate',
  summary: 'Collect what is garbage and due, on all connected nodes; --dry-run lists what there is',
  more: 'What, why, how old, how big, and when it is due; with --json the whole sentence too. docs/models/collection.md says what counts as garbage.',
  missing: 'Look it up with holdfast nodes.',
  flags: {
    dryRun: flag('--dry-run', 'only list; collect nothing'),
    node: text('--node <id>', 'only on this node'),
    images: flag('--images', 'also images that were fetched for instances and are used by nothing'),
    unknown: flag('--unknown', 'also what is held back because the control plane, or nobody, knows most of what a node has'),
  },
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const { dryRun, ...rest } = flags
    const asked = {
      ...(rest.node !== undefined && { node: rest.node }),
      ...(rest.images && { images: true }),
      ...(rest.unknown && { unknown: true }),
    }
    const answer = dryRun
      ? await client.value.call('showGarbage', { query: asked })
      : await client.value.call('collectGarbage', { body: asked })
    if (!answer.ok) return answer
    await out.value(answer.value, () => pageOf(answer.value, dryRun, out))
    for (const { node_id: node, notes, error } of answer.value.nodes) {
      if (error) await out.note(`${node}: ${error.code}: ${error.detail}`)
      for (const note of notes) await out.note(`${node}: ${note}`)
    }
    return ok(EXIT.ok)
  },
})

function pageOf({ candidates, collected }: GarbageView, dryRun: boolean, out: Output): string {
  const { columns, paint } = out
  if (dryRun) {
    if (candidates.length === 0) return 'nothing is garbage\n'
    return table(candidates, [...itemColumns<Candidate>(), { head: 'DUE', cell: dueText }], columns, paint)
  }
  const waiting = candidates.length === 0 ? '' : `${candidates.length} not collected\n${out.next('holdfast gc --dry-run')}`
  return collected.length === 0 ? `nothing collected\n${waiting}` : `${table(collected, itemColumns(), columns, paint)}${waiting}`
}
