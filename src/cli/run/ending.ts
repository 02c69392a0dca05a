// The end of a long-running verb: the first signal asks for an orderly one, the second does not wait for it. One Ctrl-C may arrive twice,
// from the terminal and from npm, which passes its own on; what follows the first at once is therefore the same wish.
import type { Core, SignalName } from '../core.ts'

const NUMBERS: Readonly<Record<SignalName, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }

const SAME_WISH_MS = 500

export interface Ending {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** Resolves with the first signal. */
  readonly asked: Promise<SignalName>
  /** After the first: whether another signal comes within the time. One that comes later, or while nobody asks, does not wait for the end. */
  again(withinMs: number): Promise<boolean>
  /** What a SIGHUP means where no terminal can be lost; until this is called, nothing. */
  onHangup(run: () => void): void
  /** Back to what signals do by themselves. */
  release(): void
}

export function onEnding(core: Core): Ending {
  const controller = new AbortController()
  const { promise, resolve } = Promise.withResolvers<SignalName>()
  core.outliveReaders()
  let lastMs = 0
  let second: (() => void) | null = null
  let hangup = () => {}
  const release = core.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) => {
    // The terminal is gone, but this was not running in it: `nohup`, output into a file, or a service that is to read its configuration.
    if (signal === 'SIGHUP' && !core.out.isTty) return hangup()
    if (controller.signal.aborted) {
      if (core.clock.elapsedMs() - lastMs <= SAME_WISH_MS) return
      lastMs = core.clock.elapsedMs()
      if (second === null) core.exitNow(128 + NUMBERS[signal])
      else second()
      return
    }
    lastMs = core.clock.elapsedMs()
    controller.abort(new Error(signal))
    resolve(signal)
  })
  const again = async (withinMs: number) => {
    const { promise: answer, resolve: answered } = Promise.withResolvers<boolean>()
    second = () => answered(true)
    const cancel = core.clock.after(withinMs, () => answered(false))
    const came = await answer
    cancel()
    second = null
    return came
  }
  return {
    signal: controller.signal,
    asked: promise,
    again,
    onHangup: (run) => {
      hangup = run
    },
    release,
  }
}
