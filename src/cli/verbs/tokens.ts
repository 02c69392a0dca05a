import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { flag, oneOf, text } from '../flags.ts'
import { absolute } from '../render/human.ts'
import { table } from '../render/table.ts'
import { collect, connect, LIST_LIMIT, moreNote } from '../session.ts'
import { usage, verb } from '../verb.ts'

export const tokens = verb({
  name: 'tokens',
  args: '',
  group: 'Operate',
  summary: 'List tokens, never their secrets',
  flags: {},
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const listed = await collect(LIST_LIMIT, (query) => client.value.call('listTokens', { query: { ...query } }))
    if (!listed.ok) return listed
    const { items, more } = listed.value
    await out.value(items, () =>
      table(
        items,
        [
          { head: 'NAME', cell: (token) => token.name },
          { head: 'ROLE', cell: (token) => token.role },
          { head: 'ORG', cell: (token) => token.org_id ?? 'all', shrinksTo: 8 },
          { head: 'CREATED', cell: (token) => absolute(token.created_at), spare: true },
          { head: 'LAST USED', cell: (token) => (token.last_used_at === null ? 'never' : absolute(token.last_used_at)), spare: true },
          { head: 'ID', cell: (token) => token.id },
        ],
        out.columns,
        out.paint,
      ),
    )
    if (more) await out.note(moreNote(items.length))
    return ok(EXIT.ok)
  },
})

export const tokensCreate = verb({
  name: 'tokens create',
  args: '<name>',
  group: 'Operate',
  summary: 'Create a token; its secret is printed once and never again',
  missing: 'Look it up with holdfast orgs.',
  flags: {
    role: oneOf('--role <role>', 'operator may change things, viewer only look', ['operator', 'viewer']),
    org: text('--org <org>', 'only for this organisation (default: yours)'),
  },
  async run({ core, out, args: [name = ''], flags }) {
    if (flags.role === undefined) return usage('--role is required: operator or viewer', '--role')
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const created = await client.value.call('createToken', {
      body: { name, role: flags.role, ...(flags.org !== undefined && { org: flags.org }) },
    })
    if (!created.ok) return created
    // The secret alone on standard output, so that it can go straight into a file; the words around it to the person.
    await out.value(created.value, () => created.value.secret)
    await out.note(
      `created ${created.value.role} token ${created.value.name} (${created.value.id}); this is the only time its secret is shown\nnext: HOLDFAST_TOKEN=… holdfast list`,
    )
    return ok(EXIT.ok)
  },
})

const WAY_BACK = [
  'this was the token in use, so nothing more can be done with it. To get back in:',
  '  with another operator token: HOLDFAST_TOKEN=…',
  '  or restart holdfast up (or server) on its machine: operator.token of its data directory works again from then on.',
  '  If others know that secret, remove the file operator.token first; the restart then makes a new one.',
].join('\n')

export const tokensRevoke = verb({
  name: 'tokens revoke',
  args: '<id>',
  group: 'Operate',
  summary: 'Revoke a token',
  missing: 'Look it up with holdfast tokens.',
  flags: { force: flag('--force', 'also the token in use, and the last operator token of the platform') },
  async run({ core, out, args: [id = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const deleted = await client.value.call('deleteToken', { params: { id }, query: { ...(flags.force && { force: 'true' as const }) } })
    if (!deleted.ok) return deleted
    // Whether it was the own one is asked of the platform: a token does not know its name.
    const still = flags.force ? await client.value.call('listTokens', { query: { limit: '1' } }) : deleted
    const locked = !still.ok && still.error.code === 'unauthenticated'
    await out.value({ id, revoked: true, locked_out: locked }, () => `revoked ${id}\n${locked ? '' : out.next(`holdfast tokens`)}`)
    if (locked) await out.note(WAY_BACK)
    return ok(EXIT.ok)
  },
})
