import type { ServerResponse } from 'node:http'
import type { Clock } from '../../base/clock.ts'

/** Writes and waits for a slow reader. False when the reader is gone, or took nothing for `slowMs`; null = it may take its time. */
export function writeOut(response: ServerResponse, data: string | Buffer, clock: Clock, slowMs: number | null): Promise<boolean> {
  if (response.destroyed || response.writableEnded) return Promise.resolve(false)
  if (response.write(data)) return Promise.resolve(true)
  return new Promise((resolve) => {
    const settle = (took: boolean) => {
      cancel()
      response.off('drain', onDrain)
      response.off('close', onClose)
      resolve(took)
    }
    const onDrain = () => settle(true)
    const onClose = () => settle(false)
    const cancel = slowMs === null ? () => {} : clock.after(slowMs, () => settle(false))
    response.once('drain', onDrain)
    response.once('close', onClose)
    // Closed between the look above and now: there will be no event.
    if (response.destroyed) settle(false)
  })
}

/** Ends it and lets the reader take the rest in its own time; cut like `endOrCut` when the signal is aborted before that. */
export function endInTime(response: ServerResponse, clock: Clock, signal: AbortSignal): void {
  if (response.destroyed) return
  response.end()
  const cut = () => endOrCut(response, clock)
  if (signal.aborted) cut()
  else signal.addEventListener('abort', cut, { once: true })
  response.once('close', () => signal.removeEventListener('abort', cut))
}

/** Ends what can be ended politely, and cuts it when the reader does not take the rest. */
export function endOrCut(response: ServerResponse, clock: Clock, graceMs = 1000): void {
  if (response.destroyed) return
  response.end()
  const cancel = clock.after(graceMs, () => response.destroy())
  response.once('close', cancel)
}
