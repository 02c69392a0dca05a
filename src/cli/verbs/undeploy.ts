import { err, ok } from '../../base/result.ts'
import { failure } from '../../contracts/errors.ts'
import { EXIT } from '../exit.ts'
import { duration, flag, text } from '../flags.ts'
import { connect } from '../session.ts'
import { verb } from '../verb.ts'
import { DEFAULT_ENV } from './deploy.ts'

const WAIT_TIMEOUT_MS = 60_000
const POLL_MS = 250

export const undeploy = verb({
  name: 'undeploy',
  args: '<app>',
  group: 'Deploy and launch',
  summary: 'Delete an env of an app, with all its replicas',
  missing: 'Run holdfast status to see all of them.',
  flags: {
    env: text('--env <env>', `the env to delete (default ${DEFAULT_ENV})`),
    wait: flag('--wait', 'wait until nothing of it is left'),
    waitTimeout: duration('--wait-timeout <time>', 'give up waiting after this long (default 60s)'),
  },
  async run({ core, out, args: [app = ''], flags }) {
    const name = flags.env ?? DEFAULT_ENV
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const find = async () => {
      const listed = await client.value.call('listEnvs', { query: { app, limit: 200 } })
      return listed.ok ? ok(listed.value.items.find((each) => each.env === name)) : listed
    }
    const found = await find()
    if (!found.ok) return found
    if (found.value === undefined) return err(failure('not_found', `There is no env ${name} of an app ${app}.`, { app, env: name }))
    const deleted = await client.value.call('deleteEnv', { params: { id: found.value.id } })
    if (!deleted.ok) return deleted
    const receipt = `removing ${app} ${name} (${found.value.id})`
    if (!flags.wait) {
      await out.value(deleted.value, () => `${receipt}\n${out.next('holdfast status')}`)
      return ok(EXIT.ok)
    }
    await out.note(`${receipt}; waiting until nothing of it is left`)
    const untilMs = core.clock.elapsedMs() + (flags.waitTimeout ?? WAIT_TIMEOUT_MS)
    for (let now = await find(); ; now = await find()) {
      if (!now.ok && now.error.code !== 'control_unreachable' && now.error.code !== 'store_unavailable') return now
      if (now.ok && now.value?.id !== found.value.id) break
      if (core.clock.elapsedMs() >= untilMs)
        return err(failure('wait_timeout', `${app} ${name} is not gone yet.`, { env_id: found.value.id }))
      await core.clock.sleep(POLL_MS)
    }
    await out.value({ id: found.value.id, app, env: name, deleted: true }, () => `${app} ${name} is gone\n`)
    return ok(EXIT.ok)
  },
})
