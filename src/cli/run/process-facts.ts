// Which process a pid means. A pid alone is not enough: it may have been given to another process since, or the machine may have been
// booted again; pid, start time and boot id together name exactly one process.
import { readFile } from 'node:fs/promises'

export interface ProcessName {
  readonly pid: number
  /** Clock ticks since boot, as text. */
  readonly startTime: string
  readonly bootId: string
}

/** The process that has this pid now; undefined when there is none, or only a zombie of it. */
export async function processOf(pid: number): Promise<ProcessName | undefined> {
  try {
    const [stat, bootId] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/sys/kernel/random/boot_id', 'utf8')])
    // The command in parentheses may hold anything, spaces and parentheses too: fields are counted from the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state] = fields
    const startTime = fields[19]
    return startTime === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTime, bootId: bootId.trim() }
  } catch {
    return undefined
  }
}

export async function runs(wanted: ProcessName): Promise<boolean> {
  const now = await processOf(wanted.pid)
  return now !== undefined && now.startTime === wanted.startTime && now.bootId === wanted.bootId
}
