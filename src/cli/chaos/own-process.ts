// From what a workload says of itself to its process on this host. In a container it takes itself for process 1, so the kernel is asked: whose
// environment carries the mark of this run and the name of the instance, and whose id in its innermost pid namespace is the one it told.
import { readdirSync, readFileSync } from 'node:fs'
import { CHAOS_MARK, CHAOS_NAME } from './workload.ts'

export interface OwnProcess {
  readonly run: string
  readonly name: string
  /** As the workload sees itself. */
  readonly pid: number
}

/** Its pid on this host; null: there is none, or more than one, so nobody is surely ours. Never 1. */
export function ownPid(wanted: OwnProcess, proc = '/proc'): number | null {
  // A process without a namespace of its own is what it says it is.
  if (wanted.pid > 1 && isOwn(wanted, String(wanted.pid), proc)) return wanted.pid
  const found = readdirSync(proc).filter((entry) => /^\d+$/.test(entry) && entry !== '1' && isOwn(wanted, entry, proc))
  return found.length === 1 ? Number(found[0]) : null
}

function isOwn({ run, name, pid }: OwnProcess, entry: string, proc: string): boolean {
  const environment = environmentOf(entry, proc)
  if (!environment.includes(`${CHAOS_MARK}=${run}`) || !environment.includes(`${CHAOS_NAME}=${name}`)) return false
  // The last one is the innermost: the number by which it knows itself.
  return /^NSpid:.*?(\d+)$/m.exec(textOf(`${proc}/${entry}/status`))?.[1] === String(pid)
}

/** Empty for what has ended, and for what is not ours to read. */
export const environmentOf = (entry: string, proc = '/proc'): readonly string[] => textOf(`${proc}/${entry}/environ`).split('\0')

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
