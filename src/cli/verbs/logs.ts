import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { flag, text, whole } from '../flags.ts'
import { bytes } from '../render/human.ts'
import { connect } from '../session.ts'
import { usage, verb } from '../verb.ts'

export const logs = verb({
  name: 'logs',
  args: '<id>',
  group: 'Look',
  summary: 'Print what an instance wrote',
  more: 'What it wrote to standard error goes to standard error.',
  flags: {
    follow: flag('-f, --follow', 'go on as it writes more'),
    previous: flag('--previous', 'of the incarnation before this one'),
    tail: whole('-n, --tail <lines>', 'only the last lines', 0, 100_000),
    since: text('--since <time>', 'only what was written in the last 5m, 2h, … or after an RFC 3339 time'),
    timestamps: flag('-t, --timestamps', 'begin each piece with its time, where the runtime keeps one'),
  },
  async run({ core, out, args: [id = ''], flags }) {
    const since = flags.since === undefined ? undefined : await sinceTime(flags.since, core.clock.wallMs())
    if (since === null) return usage('--since: must be a duration such as 5m, or an RFC 3339 time', '--since')
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const query = { ...(flags.follow && { follow: true }), ...(flags.previous && { previous: true }), tail: flags.tail, since }
    const ended = await client.value.stream('logsInstance', { params: { id }, query }, async (chunk) => {
      if (out.json) return core.out.write(`${JSON.stringify({ stream: chunk.stream, at: chunk.at, data: chunk.data.toString('utf8') })}\n`)
      const terminal = chunk.stream === 'stderr' ? core.err : core.out
      if (flags.timestamps && chunk.at !== null) await terminal.write(`${chunk.at} `)
      await terminal.write(chunk.data)
    })
    if (!ended.ok) return ended
    const lost = ended.value.lostBytes ?? 0
    if (lost > 0) await out.note(`${bytes(lost)} of older output are gone: log files are bounded`)
    return ok(EXIT.ok)
  },
})

/** RFC 3339; null when the text is neither a duration nor a time. */
async function sinceTime(given: string, nowMs: number): Promise<string | null> {
  const { parseDuration } = await import('../../contracts/units.ts')
  const ms = parseDuration(given)
  const atMs = ms === undefined ? (/^\d{4}-\d\d-\d\dT/.test(given) ? Date.parse(given) : Number.NaN) : nowMs - ms
  return Number.isFinite(atMs) ? new Date(atMs).toISOString() : null
}
