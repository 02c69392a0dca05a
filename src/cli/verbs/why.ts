import { ok } from '../../base/result.ts'
import { asTyped, errorAsTyped } from '../called.ts'
import { EXIT } from '../exit.ts'
import { whyText } from '../render/instance.ts'
import { connect } from '../session.ts'
import { verb } from '../verb.ts'

export const why = verb({
  name: 'why',
  args: '<id>',
  group: 'Look',
  summary: 'Say why an instance is as it is, and what happens next',
  flags: {},
  async run({ core, out, args: [id = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const answer = await client.value.call('whyInstance', { params: { id } })
    if (!answer.ok) return answer
    const why = answer.value
    const typed = { ...why, next: asTyped(why.next, core.called), last_error: errorAsTyped(why.last_error, core.called) }
    await out.value(why, () => whyText(typed, out.paint))
    return ok(EXIT.ok)
  },
})
