import { WAIT_TIMEOUT_MS, waitAndTell } from '../finish.ts'
import { duration } from '../flags.ts'
import { connect } from '../session.ts'
import { usage, verb } from '../verb.ts'
import { AWAITED } from '../wait.ts'

export const wait = verb({
  name: 'wait',
  args: '<id> <state>',
  group: 'Act',
  summary: 'Wait until an instance is in a state',
  more: `States: ${AWAITED.join(', ')}.\nExit codes: 0 reached, 7 not in time, 8 it ended in a state that leads nowhere. A crash loop is waited through.`,
  flags: { timeout: duration('--wait-timeout <time>', 'give up after this long (default 60s)') },
  async run({ core, out, args: [id = '', state = ''], flags }) {
    const awaited = AWAITED.find((each) => each === state)
    if (awaited === undefined) return usage(`${state} is no state to wait for; use one of ${AWAITED.join(', ')}`, 'state')
    const client = await connect({ core, flags })
    if (!client.ok) return client
    return waitAndTell({ core, out, client: client.value, id, awaited, timeoutMs: flags.timeout ?? WAIT_TIMEOUT_MS, patient: true })
  },
})
