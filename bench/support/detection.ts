import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Detection {
  /** Wall clock, to the millisecond: when the reason was journalled. */
  readonly journalledAtMs: number
  /** From the event received to the reason journalled. */
  readonly detectionMs: number
}

/** Every orphan that an event told of, in order, from the platform's own log. */
export async function detections(dataDir: string): Promise<readonly Detection[]> {
  const log = await readFile(join(dataDir, 'holdfast.log'), 'utf8')
  return log.split('\n').flatMap((line) => {
    if (!line.includes('"orphaned vm detected"')) return []
    const entry: { time: string; detection_ms: number | null } = JSON.parse(line)
    return entry.detection_ms === null ? [] : [{ journalledAtMs: Date.parse(entry.time), detectionMs: entry.detection_ms }]
  })
}

/** From each kill (wall clock) to the event received, for kills made one after the other; to the millisecond. */
export function killToReceived(killsAtMs: readonly number[], found: readonly Detection[]): readonly number[] {
  return killsAtMs.flatMap((killAtMs) => {
    const own = found.find(({ journalledAtMs }) => journalledAtMs >= Math.floor(killAtMs))
    return own ? [Math.max(0, own.journalledAtMs - own.detectionMs - killAtMs)] : []
  })
}
