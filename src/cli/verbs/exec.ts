import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { duration, flag, text } from '../flags.ts'
import { connect } from '../session.ts'
import { type TextPiece, TextPieces } from '../text-pieces.ts'
import { usage, verb } from '../verb.ts'

const STDIN_BYTES_MAX = 1_000_000

export const exec = verb({
  name: 'exec',
  args: '<id> [command...]',
  group: 'Act',
  summary: 'Run a command in an instance; its exit code is passed on',
  more: 'Example: holdfast exec web -- ls -l /',
  flags: {
    stdin: flag('-i, --stdin', `send standard input to it, at most ${STDIN_BYTES_MAX} bytes of text`),
    user: text('--user <user>', 'run it as this user'),
    timeout: duration('--timeout <time>', 'give up after this long (default 10m)'),
  },
  async run({ core, out, args: [id = '', ...command], flags }) {
    if (command.length === 0) return usage('exec needs a command: holdfast exec ID -- CMD ARG…')
    const stdin = flags.stdin ? await core.stdin(STDIN_BYTES_MAX) : new Uint8Array()
    if (stdin === undefined) return usage(`standard input is longer than ${STDIN_BYTES_MAX} bytes`, '--stdin')
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const body = {
      command,
      ...(flags.stdin && { stdin: Buffer.from(stdin).toString('utf8') }),
      ...(flags.user !== undefined && { user: flags.user }),
      ...(flags.timeout !== undefined && { timeout_ms: flags.timeout }),
    }
    const pieces = new TextPieces()
    const json = async (told: readonly TextPiece[]) => {
      for (const { stream, data } of told) await core.out.write(`${JSON.stringify({ stream, data })}\n`)
    }
    const ended = await client.value.stream('execInstance', { params: { id }, body }, async (chunk) => {
      if (out.json) return json(pieces.take(chunk))
      await (chunk.stream === 'stderr' ? core.err : core.out).write(chunk.data)
    })
    await json(pieces.end())
    if (!ended.ok) return ended
    if (out.json) await core.out.write(`${JSON.stringify({ exit_code: ended.value.exitCode })}\n`)
    return ok(ended.value.exitCode ?? EXIT.unexpected)
  },
})
