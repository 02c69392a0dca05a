import { ok } from '../../base/result.ts'
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
    await out.value(shown.value, () => instancePage(shown.value, out.columns, out.nowMs, out.paint))
    return ok(EXIT.ok)
  },
})
