import { ok } from '../../base/result.ts'
import { errorAsTyped } from '../called.ts'
import { EXIT } from '../exit.ts'
import { instancePage } from '../render/instance.ts'
import { connect } from '../session.ts'
import { verb } from '../verb.ts'

export const show = verb({
  name: 'show',
  args: '<id>',
  group: 'Look',
  summary: 'Show everything about an instance',
  flags: {},
  async run({ core, out, args: [id = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const shown = await client.value.call('getInstance', { params: { id } })
    if (!shown.ok) return shown
    const typed = { ...shown.value, last_error: errorAsTyped(shown.value.last_error, core.called) }
    await out.value(shown.value, () => instancePage(typed, out.columns, out.nowMs, out.paint))
    return ok(EXIT.ok)
  },
})
