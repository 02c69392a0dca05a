import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'

/** What the figures were taken on; printed with every result. */
export function machine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load_1m: loadavg()[0],
    commit: commit(),
  }
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

/** Prints a table for people and, as the last line, one JSON document for machines. */
export function publish(question: string, rows: readonly Record<string, unknown>[]): void {
  process.stdout.write(`${question}\n`)
  console.table(rows)
  process.stdout.write(`${JSON.stringify({ question, machine: machine(), rows })}\n`)
}
