// Processes of containers as this machine's /proc shows them. The engine may live in another pid namespace, so a pid is believed only
// when its cgroup names the container. Nothing below pid 2 is ever looked up or signalled: a stopped container's pid is 0, and kill(0)
// would end our own process group.
import { readFileSync } from 'node:fs'
import { assert } from '../../../base/assert.ts'

export interface ProcessFacts {
  /** Clock ticks since boot, as text. */
  readonly startTime: string
  /** Dead although its pid exists: nobody has reaped it yet. */
  readonly zombie: boolean
}

/** Undefined when it cannot be told whether this pid is the container's. */
export function processOf(pid: number, containerId: string): ProcessFacts | undefined {
  if (pid < 2) return undefined
  const stat = readStat(pid)
  if (!stat) return undefined
  // A zombie has left its cgroup on some kernels; its state alone already says enough.
  if (stat.state !== 'Z' && !readText(`/proc/${pid}/cgroup`)?.includes(containerId)) return undefined
  return { startTime: stat.startTime, zombie: stat.state === 'Z' }
}

/** Kills the process and everything below it, each verified to be in the container. Returns how many were signalled. */
export function killTree(pid: number, containerId: string): number {
  if (pid < 2) return 0
  const family = [pid, ...descendantsOf(pid, 0)]
  let killed = 0
  for (const one of family) {
    const facts = processOf(one, containerId)
    if (!facts || facts.zombie) continue
    assert(one > 1, 'never signal pid 0 or 1')
    try {
      process.kill(one, 'SIGKILL')
      killed += 1
    } catch {
      // Ended meanwhile, or not ours to signal: the count says so.
    }
  }
  return killed
}

const DEPTH_MAX = 64

function descendantsOf(pid: number, depth: number): number[] {
  if (depth > DEPTH_MAX) return []
  const children = (readText(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number)
  return children.flatMap((child) => [child, ...descendantsOf(child, depth + 1)])
}

/** Fields after the command name, which may itself hold spaces and parentheses. */
function readStat(pid: number): { state: string; startTime: string } | undefined {
  const text = readText(`/proc/${pid}/stat`)
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  const state = fields?.[0]
  const startTime = fields?.[19]
  return state && startTime ? { state, startTime } : undefined
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
