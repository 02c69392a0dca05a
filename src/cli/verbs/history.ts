import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { historyText } from '../render/instance.ts'
import { connect } from '../session.ts'
import { verb } from '../verb.ts'

export const history = verb({
  name: 'history',
  args: '<id>',
  group: 'Look',
  summary: 'Show the transitions and attempts of an instance',
  flags: {},
  async run({ core, out, args: [id = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const answer = await client.value.call('historyInstance', { params: { id } })
    if (!answer.ok) return answer
    await out.value(answer.value, () => historyText(answer.value, out.columns, out.nowMs, out.paint))
    return ok(EXIT.ok)
  },
})
