// What the kernel says about a process. Reads of /proc are synchronous on purpose: they never touch a disk, take some ten
// microseconds, and through the thread pool they would cost ten times as much CPU and arrive later.
import { readdirSync, readFileSync } from 'node:fs'
import { errnoOf } from './failures.ts'

export interface ProcessStat {
  readonly pid: number
  /** One letter; Z and X are dead although the pid still exists (an orphan's zombie can wait seconds for its reaper). */
  readonly state: string
  readonly parentPid: number
  /** Clock ticks since boot, as text: with the pid it names one process until the next boot. */
  readonly startTime: string
  readonly cpuTicks: number
  readonly residentPages: number
}

/** Null when there is no such process. */
export function readStat(pid: number): ProcessStat | null {
  const text = readProc(`/proc/${pid}/stat`)
  if (text === null) return null
  // The name in parentheses may itself hold parentheses and spaces: fields are counted after the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, parentPid] = fields
  const startTime = fields[19]
  if (state === undefined || startTime === undefined) return null
  return {
    pid,
    state,
    parentPid: Number(parentPid),
    startTime,
    cpuTicks: Number(fields[11]) + Number(fields[12]),
    residentPages: Number(fields[21]),
  }
}

/** Whether the very process that began at `startTime` still lives. */
export function isAlive(pid: number, startTime: string): boolean {
  const stat = readStat(pid)
  return stat !== null && stat.startTime === startTime && stat.state !== 'Z' && stat.state !== 'X'
}

/** A variable of the process's initial environment; `unknown` when that may not be read or was overwritten by the program. */
export function readVariable(pid: number, name: string): { readonly kind: 'value'; readonly value: string } | { readonly kind: 'unknown' } {
  const found = readEnvironment(pid)?.find((entry) => entry.startsWith(`${name}=`))
  return found === undefined ? { kind: 'unknown' } : { kind: 'value', value: found.slice(name.length + 1) }
}

/** The initial environment, one `NAME=value` each; null when it may not be read. */
export function readEnvironment(pid: number): readonly string[] | null {
  const text = readProc(`/proc/${pid}/environ`)
  return text === null || text === '' ? null : text.split('\0').slice(0, -1)
}

export const readBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()

/** In wall time, to the second. */
export function readBootTimeMs(): number {
  const [, seconds] = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1')) ?? []
  return Number(seconds ?? 0) * 1000
}

export const allPids = (): readonly number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid > 1)

/** A process and everything below it, by parent. */
export function withDescendants(root: number): readonly ProcessStat[] {
  const byParent = new Map<number, ProcessStat[]>()
  for (const pid of allPids()) {
    const stat = readStat(pid)
    if (!stat) continue
    const siblings = byParent.get(stat.parentPid)
    if (siblings) siblings.push(stat)
    else byParent.set(stat.parentPid, [stat])
  }
  const found: ProcessStat[] = []
  const top = readStat(root)
  const waiting = top ? [top] : []
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    found.push(next)
    waiting.push(...(byParent.get(next.pid) ?? []))
  }
  return found
}

/** Every process that carries this nonce in its environment. */
export const pidsWithNonce = (nonce: string): readonly number[] =>
  allPids().filter((pid) => {
    const found = readVariable(pid, 'HOLDFAST_NONCE')
    return pid !== process.pid && found.kind === 'value' && found.value === nonce
  })

/** Signals a pid, or with a negative one its group; false when there was nobody. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  if (!Number.isInteger(pid) || Math.abs(pid) <= 1) return false
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false
    throw error
  }
}

function readProc(path: string): string | null {
  try {
    return readFileSync(path, 'latin1')
  } catch (error) {
    const code = errnoOf(error)
    // Gone, gone while reading, or hidden from us: in every case there is nothing here that we may act upon.
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return null
    throw error
  }
}
