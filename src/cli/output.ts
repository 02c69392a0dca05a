// The one way to standard output. With --json each value is one line of JSON and nothing else is printed; otherwise the text rendering
// is. Notes for the person (progress, hints) go to standard error and never disturb a pipe.
import { asTyped } from './called.ts'
import type { Core } from './core.ts'
import { type Paint, painter } from './render/paint.ts'

export interface Output {
  readonly json: boolean
  readonly paint: Paint
  /** Wall clock at the start of the command: all relative times of one answer agree. */
  readonly nowMs: number
  /** Characters per line, for tables. */
  readonly columns: number
  /** One value: JSON, or the text that `render` makes of it. */
  value(value: unknown, render: () => string): Promise<void>
  /** The last line of a receipt: the command that shows what becomes of it. */
  next(command: string): string
  /** Text that has no JSON form; nothing with --json. */
  text(line: string): Promise<void>
  /** A remark for the person, on standard error; nothing with --json. */
  note(line: string): Promise<void>
}

const line = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)

export function output(core: Core, json: boolean): Output {
  return {
    json,
    paint: painter(!json && core.out.isTty && !core.env.NO_COLOR),
    nowMs: core.clock.wallMs(),
    columns: core.out.columns(),
    next: (command) => `next: ${asTyped(command, core.called)}\n`,
    value: (value, render) => core.out.write(line(json ? JSON.stringify(value) : render())),
    text: async (text) => {
      if (!json) await core.out.write(line(text))
    },
    note: async (text) => {
      if (!json) await core.err.write(line(asTyped(text, core.called)))
    },
  }
}
