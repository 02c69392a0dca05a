import { ok, type Result } from '../../base/result.ts'
import type { Client } from '../../client/client.ts'
import type { OutputChunk } from '../../client/stream.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceView } from '../../contracts/views.ts'
import type { Core } from '../core.ts'
import { EXIT } from '../exit.ts'
import { flag, text, whole } from '../flags.ts'
import { nextRun, onceOnNode } from '../next-run.ts'
import type { Output } from '../output.ts'
import { bytes } from '../render/human.ts'
import { connect } from '../session.ts'
import { type TextPiece, TextPieces } from '../text-pieces.ts'
import { type Outcome, usage, verb } from '../verb.ts'

export const logs = verb({
  name: 'logs',
  args: '<id>',
  group: 'Look',
  summary: 'Print what an instance wrote',
  more: 'What it wrote to standard error goes to standard error. With -f it waits for the first incarnation and goes on with the next.',
  missing: 'Look it up with holdfast list; holdfast history shows its incarnations.',
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
    const json = async (pieces: readonly TextPiece[]) => {
      for (const { lostBytes, ...piece } of pieces)
        await core.out.write(`${JSON.stringify({ ...piece, ...(lostBytes > 0 && { lost_bytes: lostBytes }) })}\n`)
    }
    const print = async (chunk: OutputChunk) => {
      const { stream, lostBytes } = chunk
      if (lostBytes > 0)
        await out.note(`${lostBytes} bytes of ${stream} are missing here: log files are bounded, and they were gone before they were read`)
      const terminal = chunk.stream === 'stderr' ? core.err : core.out
      if (flags.timestamps && chunk.at !== null) await terminal.write(`${chunk.at} `)
      await terminal.write(chunk.data)
    }
    const read = async (query: LogsQuery): Promise<Result<Read, Failure>> => {
      let told = 0
      const pieces = new TextPieces()
      const ended = await client.value.stream('logsInstance', { params: { id }, query }, (chunk) => {
        told += chunk.lostBytes
        return out.json ? json(pieces.take(chunk)) : print(chunk)
      })
      await json(pieces.end())
      if (!ended.ok) return ended
      const lost = (ended.value.lostBytes ?? 0) - told
      if (lost > 0) await out.note(`${bytes(lost)} of older output are gone: log files are bounded`)
      return ok({ incarnation: ended.value.incarnation })
    }
    const first = { tail: flags.tail, since }
    if (!flags.follow || flags.previous) {
      const ended = await read({ ...(flags.follow && { follow: true }), ...(flags.previous && { previous: true }), ...first })
      return ended.ok ? ok(EXIT.ok) : ended
    }
    const now = await onceOnNode(core, client.value, id)
    if (!now.ok) return now
    return followRuns(core, out, client.value, now.value, (isFirst) => read({ follow: true, ...(isFirst && first) }))
  },
})

interface LogsQuery {
  readonly follow?: true
  readonly previous?: true
  readonly tail?: number | undefined
  readonly since?: string | undefined
}

interface Read {
  /** Whose output it was; null where nobody knows. */
  readonly incarnation: number | null
}

/** One incarnation after the other, until none will follow. */
async function followRuns(
  core: Core,
  out: Output,
  client: Client,
  first: InstanceView,
  read: (isFirst: boolean) => Promise<Result<Read, Failure>>,
): Promise<Outcome> {
  for (let now = first, isFirst = true; ; isFirst = false) {
    const ended = await read(isFirst)
    if (!ended.ok) return ended
    // The node reads what is current there: it may have been a later one already.
    const was = Math.max(now.incarnation, ended.value.incarnation ?? 0)
    const next = await nextRun(core, client, now.id, was)
    if (!next.ok) return next
    if (next.value === undefined) return ok(EXIT.ok)
    await out.note(`run ${was} of ${now.name} has ended; this is run ${next.value.incarnation}`)
    now = next.value
  }
}

/** RFC 3339; null when the text is neither a duration nor a time. */
async function sinceTime(given: string, nowMs: number): Promise<string | null> {
  const { parseDuration } = await import('../../contracts/units.ts')
  const ms = parseDuration(given)
  const atMs = ms === undefined ? (/^\d{4}-\d\d-\d\dT/.test(given) ? Date.parse(given) : Number.NaN) : nowMs - ms
  return Number.isFinite(atMs) ? new Date(atMs).toISOString() : null
}
