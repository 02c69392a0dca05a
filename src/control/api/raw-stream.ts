import type { ServerResponse } from 'node:http'
import type { Clock } from '../../base/clock.ts'

/** Writes and waits for a slow reader. False when the reader is gone, or took nothing for `slowMs`. */
export function writeOut(response: ServerResponse, data: string | Buffer, clock: Clock, slowMs: number): Promise<boolean> {
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
    const cancel = clock.after(slowMs, () => settle(false))
    response.once('drain', onDrain)
    response.once('close', onClose)
    // Closed between the look above and now: there will be no event.
    if (response.destroyed) settle(false)
  })
}

/** Ends what can be ended politely, and cuts it when the reader does not take the rest. */
export function endOrCut(response: ServerResponse, clock: Clock, graceMs = 1000): void {
  if (response.destroyed) return
  response.end()
  const cancel = clock.after(graceMs, () => response.destroy())
  response.once('close', cancel)
}
