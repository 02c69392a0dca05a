import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { absolute } from '../render/human.ts'
import { table } from '../render/table.ts'
import { collect, connect, LIST_LIMIT, moreNote } from '../session.ts'
import { verb } from '../verb.ts'

export const orgs = verb({
  name: 'orgs',
  args: '',
  group: 'Operate',
  summary: 'List organisations',
  flags: {},
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const listed = await collect(LIST_LIMIT, (query) => client.value.call('listOrgs', { query: { ...query } }))
    if (!listed.ok) return listed
    const { items, more } = listed.value
    await out.value(items, () =>
      table(
        items,
        [
          { head: 'NAME', cell: (org) => org.name },
          { head: 'CREATED', cell: (org) => absolute(org.created_at) },
          { head: 'ID', cell: (org) => org.id },
        ],
        out.columns,
        out.paint,
      ),
    )
    if (more) await out.note(moreNote(items.length))
    return ok(EXIT.ok)
  },
})

export const orgsCreate = verb({
  name: 'orgs create',
  args: '<name>',
  group: 'Operate',
  summary: 'Create an organisation',
  flags: {},
  async run({ core, out, args: [name = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const created = await client.value.call('createOrg', { body: { name } })
    if (!created.ok) return created
    await out.value(
      created.value,
      () =>
        `created ${created.value.name} (${created.value.id})\n${out.next(`holdfast tokens create NAME --role operator --org ${created.value.name}`)}`,
    )
    return ok(EXIT.ok)
  },
})
