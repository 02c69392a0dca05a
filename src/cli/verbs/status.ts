import { err, ok } from '../../base/result.ts'
import { failure } from '../../contracts/errors.ts'
import type { HealthView } from '../../contracts/views.ts'
import { asTyped } from '../called.ts'
import { EXIT } from '../exit.ts'
import { envTable } from '../render/env.ts'
import { oneLine } from '../render/human.ts'
import { type Paint, shadeOf } from '../render/paint.ts'
import { collect, connect, LIST_LIMIT, moreNote } from '../session.ts'
import { verb } from '../verb.ts'

export const status = verb({
  name: 'status',
  args: '[app]',
  group: 'Look',
  summary: 'Show the platform and its apps, or one app',
  missing: 'Run holdfast status to see all of them.',
  flags: {},
  async run({ core, out, args: [app], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const envs = await collect(LIST_LIMIT, (query) => client.value.call('listEnvs', { query: { ...query, app } }))
    if (!envs.ok) {
      // The health of a platform that cannot answer is what one wants to know then.
      const ill = app === undefined ? await client.value.call('health', {}) : envs
      if (ill.ok && !out.json) await core.err.write(healthText(ill.value, client.value.url, out.paint))
      return envs
    }
    const { items, more } = envs.value
    const none = asTyped('no apps; deploy a manifest with holdfast deploy\n', core.called)
    const table = () => (items.length === 0 ? none : envTable(items, out.columns, out.paint))
    if (app !== undefined) {
      if (items.length === 0) return err(failure('not_found', `There is no app ${app}.`, { app }))
      await out.value(items, table)
      return ok(EXIT.ok)
    }
    const health = await client.value.call('health', {})
    if (!health.ok) return health
    await out.value({ health: health.value, envs: items }, () => `${healthText(health.value, client.value.url, out.paint)}\n${table()}`)
    if (more) await out.note(moreNote(items.length))
    return ok(EXIT.ok)
  },
})

function healthText(health: HealthView, url: string, paint: Paint): string {
  const checks = Object.entries(health.checks)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, check]) =>
        `  ${name}: ${paint(shadeOf(check.status), check.status)}${check.detail === '' ? '' : `, ${oneLine(check.detail)}`}`,
    )
  return `${[`holdfast ${health.version} at ${url} is ${paint(shadeOf(health.status), health.status)}`, ...checks].join('\n')}\n`
}
