// What a verb may touch of the world: two terminals, the environment, the clock. `main.ts` builds the real one; tests hand in their own,
// so that each verb runs in-process against a buffer.
import type { Clock, Random } from '../base/clock.ts'

export interface Terminal {
  readonly isTty: boolean
  /** Width in characters; Infinity where nobody looks (a pipe), so that nothing is cut off for programs. */
  readonly columns: () => number
  readonly rows: () => number
  /** Resolves when the text was handed over, so that an endless stream waits for a slow reader. */
  readonly write: (text: string | Uint8Array) => Promise<void>
}

export type SignalName = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

export interface Core {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly pid: number
  readonly uid: number
  /** How the person calls us: `holdfast` or `npx holdfast`. */
  readonly called: string
  readonly out: Terminal
  readonly err: Terminal
  /** All of standard input, at most `bytesMax`; undefined when there is more. */
  readonly stdin: (bytesMax: number) => Promise<Uint8Array | undefined>
  readonly stdinIsTty: boolean
  readonly clock: Clock
  readonly random: Random
  /** Takes over these signals until the returned function is called. */
  readonly onSignal: (signals: readonly SignalName[], run: (signal: SignalName) => void) => () => void
  /** From here on a reader that goes away (`| head`) no longer ends the process; what is written to it is dropped. */
  readonly outliveReaders: () => void
  /** Ends the process now, for a second Ctrl-C. */
  readonly exitNow: (code: number) => never
}
