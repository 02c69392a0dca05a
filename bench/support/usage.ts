// What a platform and everything below it takes: memory and processor time, from /proc.
import { readdirSync, readFileSync } from 'node:fs'

/** Proportional set size in MiB: shared pages count for each process by its share. */
export const pss = (pid: number) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) / 1024
interface Used {
  readonly parent: number
  readonly title: string
  /** Seconds of processor time of the process itself, and of its children that have ended. */
  readonly own: number
  readonly ended: number
}

/** Seconds of processor time. */
export interface Time {
  platform: number
  postgres: number
  helpers: number
}

/** USER_HZ is 100 on every Linux that Node runs on. */
function used(pid: number): Used | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const seconds = (from: number) => (Number(fields[from]) + Number(fields[from + 1])) / 100
    return { parent: Number(fields[1]), title: readFileSync(`/proc/${pid}/cmdline`, 'utf8'), own: seconds(11), ended: seconds(13) }
  } catch {
    // It has ended meanwhile.
    return null
  }
}

/** Seconds of processor time so far, apart: the platform's own process; PostgreSQL; keepers, and whoever forks commands, with those. */
export function processorTime(root: number): Time {
  const all = new Map(
    readdirSync('/proc').flatMap((name) => {
      const one = /^\d+$/.test(name) ? used(Number(name)) : null
      return one ? [[Number(name), one] as const] : []
    }),
  )
  const below = (pid: number): boolean => {
    const parent = all.get(pid)?.parent ?? 0
    return parent === root || (parent > 1 && below(parent))
  }
  const main = all.get(root)
  const sum: Time = { platform: main?.own ?? 0, postgres: 0, helpers: main?.ended ?? 0 }
  for (const [pid, { parent, title, own, ended }] of all) {
    if (!below(pid)) continue
    // Connections come and go; the time of those that have ended is with the first of its processes.
    if (title.includes('postgres')) sum.postgres += own + (title.startsWith('postgres:') ? 0 : ended)
    // A command that has ended is counted with the one who forked it; a keeper's children are the workload.
    else if (title.includes('keeper')) sum.helpers += own + (parent === root ? ended : 0)
  }
  return sum
}
