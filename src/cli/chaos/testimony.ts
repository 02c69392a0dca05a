// What Holdfast says of itself, read afterwards and only to be held against the ledger: its log lines and its metrics.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Fault } from './ledger.ts'

interface Line {
  readonly atMs: number
  readonly msg: string
  readonly instanceId: string
}

/** The lines of an episode, in their order. */
const EPISODE = ['orphaned vm detected', 'attempting vm recovery', 'vm recovery successful'] as const

/** Lines about our instances since then; the log of `up` or `server` with `agent` in one place. */
export function logLines(files: readonly string[], sinceWallMs: number, instanceIds: ReadonlySet<string>): readonly Line[] {
  return files
    .flatMap((file) => readLines(file))
    .flatMap((text) => {
      if (!EPISODE.some((msg) => text.includes(`"${msg}"`))) return []
      const entry: { time?: string; msg?: string; instance_id?: string } = JSON.parse(text)
      const atMs = Date.parse(entry.time ?? '')
      if (!(atMs >= sinceWallMs) || !instanceIds.has(entry.instance_id ?? '')) return []
      return [{ atMs, msg: entry.msg ?? '', instanceId: entry.instance_id ?? '' }]
    })
    .sort((a, b) => a.atMs - b.atMs)
}

/** The log of `up`, the part that was turned over first. */
export const logFiles = (dataDir: string): readonly string[] => ['holdfast.log.1', 'holdfast.log'].map((name) => path.join(dataDir, name))

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean)
  } catch {
    return []
  }
}

/** Milliseconds from one step to the next, to the millisecond of the log's clock. */
export interface Steps {
  readonly detectMs: number
  readonly queueMs: number
  /** From the begin of the attempt to the first right answer of the new life: the oracle's clock. */
  readonly attemptMs: number
  /** From that answer to the word that it is verified; null: not said yet. */
  readonly verifyMs: number | null
}

/** null: its episode is not in the log as it should be. */
export function stepsOf(fault: Fault, lines: readonly Line[]): Steps | null {
  const atMs = Date.parse(fault.at)
  const after = (msg: (typeof EPISODE)[number], fromMs: number) =>
    lines.find((line) => line.instanceId === fault.instanceId && line.msg === msg && line.atMs >= fromMs)
  const detected = after(EPISODE[0], atMs - 1)
  const attempt = detected && after(EPISODE[1], detected.atMs)
  if (!detected || !attempt || fault.recoveredMs === null) return null
  const servedAtMs = atMs + fault.recoveredMs
  const verified = after(EPISODE[2], attempt.atMs)
  return {
    detectMs: Math.max(0, detected.atMs - atMs),
    queueMs: attempt.atMs - detected.atMs,
    attemptMs: Math.max(0, servedAtMs - attempt.atMs),
    verifyMs: verified ? Math.max(0, verified.atMs - servedAtMs) : null,
  }
}

/** Instances called orphans more often than something was done to them. What is doomed may be called so any number of times. */
export function falseOrphans(lines: readonly Line[], faults: readonly Fault[]): number {
  const own = Map.groupBy(
    faults.filter(({ orphans, expects }) => orphans || expects === 'recovery' || expects === 'doomed'),
    ({ instanceId }) => instanceId,
  )
  const called = Map.groupBy(
    lines.filter(({ msg }) => msg === EPISODE[0]),
    ({ instanceId }) => instanceId,
  )
  return [...called].reduce((total, [id, said]) => {
    const harmed = own.get(id) ?? []
    return total + (harmed.some(({ expects }) => expects === 'doomed') ? 0 : Math.max(0, said.length - harmed.length))
  }, 0)
}

export const countOf = (lines: readonly Line[], msg: (typeof EPISODE)[number]): number => lines.filter((line) => line.msg === msg).length

export interface Counters {
  readonly orphaned: number
  readonly successes: number
}

/** null: no metrics there. */
export async function readCounters(url: string, token: string | null): Promise<Counters | null> {
  try {
    const answer = await fetch(`${url}/metrics`, { headers: token === null ? {} : { authorization: `Bearer ${token}` } })
    const text = await answer.text()
    const sum = (name: string, label = '') =>
      text
        .split('\n')
        .filter((line) => new RegExp(`^[a-z_]*${name}[{ ]`).test(line) && line.includes(label))
        .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
    if (!answer.ok || !text.includes('vm_orphaned_total')) return null
    return { orphaned: sum('vm_orphaned_total'), successes: sum('vm_recovery_episodes_total', 'outcome="success"') }
  } catch {
    return null
  }
}
