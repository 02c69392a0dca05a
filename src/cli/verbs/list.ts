import { ok } from '../../base/result.ts'
import { asTyped } from '../called.ts'
import { EXIT } from '../exit.ts'
import { flag, text, whole } from '../flags.ts'
import { instanceTable } from '../render/instance.ts'
import { collect, connect, LIST_LIMIT, moreNote } from '../session.ts'
import { verb } from '../verb.ts'

export const list = verb({
  name: 'list',
  args: '',
  group: 'Look',
  summary: 'List instances, newest first',
  more: 'Selectors: app=web, tier!=db, zone in (a,b), zone notin (a,b), canary, !old; a comma means and.',
  flags: {
    selector: text('-l, --selector <selector>', 'only those whose labels match'),
    state: text('--state <state>', 'only those in this state, such as running'),
    name: text('--name <name>', 'only the one with this name'),
    all: flag('--all', 'deleted ones too, as long as their record is kept'),
    limit: whole('-n, --limit <n>', `at most this many (default ${LIST_LIMIT})`, 1, 1_000_000),
  },
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const { selector, state, name, all } = flags
    const listed = await collect(flags.limit ?? LIST_LIMIT, (query) =>
      client.value.call('listInstances', { query: { ...query, selector, state, name, ...(all && { include_deleted: true }) } }),
    )
    if (!listed.ok) return listed
    const { items, more } = listed.value
    const narrowed = selector !== undefined || state !== undefined || name !== undefined
    const none = narrowed
      ? 'no instance matches\n'
      : asTyped('no instances; launch one with holdfast launch, or deploy a manifest\n', core.called)
    await out.value(items, () => (items.length === 0 ? none : instanceTable(items, out.columns, out.nowMs, out.paint)))
    if (more) await out.note(moreNote(items.length))
    return ok(EXIT.ok)
  },
})
