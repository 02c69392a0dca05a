import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { bytes, percent } from '../render/human.ts'
import { facts } from '../render/table.ts'
import { connect } from '../session.ts'
import { verb } from '../verb.ts'

export const stats = verb({
  name: 'stats',
  args: '<id>',
  group: 'Look',
  summary: 'Show what an instance uses now',
  flags: {},
  async run({ core, out, args: [id = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const answer = await client.value.call('statsInstance', { params: { id } })
    if (!answer.ok) return answer
    const now = answer.value
    const limit = now.memory_limit_bytes === null ? '' : ` of ${bytes(now.memory_limit_bytes)}`
    await out.value(now, () =>
      facts(
        [
          ['cpu', now.cpu_ratio === null ? null : `${percent(now.cpu_ratio)} of one core`],
          ['cpu time', now.cpu_seconds === null ? null : `${now.cpu_seconds.toFixed(2)}s`],
          ['memory', now.memory_bytes === null ? null : `${bytes(now.memory_bytes)}${limit}`],
          ['processes', now.processes === null ? null : String(now.processes)],
          [
            'network',
            now.network_received_bytes === null
              ? null
              : `received ${bytes(now.network_received_bytes)}, sent ${bytes(now.network_sent_bytes)}`,
          ],
          ['disk', now.disk_read_bytes === null ? null : `read ${bytes(now.disk_read_bytes)}, written ${bytes(now.disk_written_bytes)}`],
        ],
        out.paint,
      ),
    )
    return ok(EXIT.ok)
  },
})
