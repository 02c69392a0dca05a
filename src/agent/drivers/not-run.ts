// A command that could not be run in an instance ends as it does in a shell, in every runtime: with 127 when it was not found, with 126 when
// it is there and cannot be executed, and with one line on standard error. What else may go wrong before it runs is a failure.
import type { Emit } from './driver.ts'

/** A name without a slash is looked for in PATH, where what cannot be executed does not count as found. */
export const isPath = (command: string): boolean => command.includes('/')

/** The exit code; `found`: there is a file of this path. */
export async function notRun(command: string, found: boolean, emit: Emit | null): Promise<number> {
  const line = `holdfast: ${JSON.stringify(command)} ${found ? 'cannot be executed' : 'was not found'}\n`
  await emit?.({ stream: 'stderr', data: Buffer.from(line), atMs: null })
  return found ? 126 : 127
}
