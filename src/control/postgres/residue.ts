// What is left of an earlier server on a cluster directory: a live one to adopt, one that is ending, or only its pid file.
// A pid is never believed by itself: every PostgreSQL process works in its cluster directory, so /proc/<pid>/cwd and the command
// name tell ours from a process that got the number later. A zombie has no cwd and so is dead, whatever kill(pid, 0) says.
import { readdir, readFile, readlink } from 'node:fs/promises'
import path from 'node:path'

export interface PostmasterFile {
  readonly pid: number
  readonly socketDir: string
  readonly status: string
}

/** null when there is no such file, or it is not fully written yet. */
export async function readPostmasterFile(cluster: string): Promise<PostmasterFile | null> {
  const text = await readFile(path.join(cluster, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Number(lines[0])
  return Number.isInteger(pid) && pid > 0 ? { pid, socketDir: lines[4] ?? '', status: (lines[7] ?? '').trim() } : null
}

/** Live PostgreSQL processes (postmaster and children) on this cluster. */
export async function processesOn(cluster: string): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const ours: number[] = []
  for (const pid of pids) if (await isOn(cluster, pid)) ours.push(pid)
  return ours
}

export async function isOn(cluster: string, pid: number): Promise<boolean> {
  const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
  if (cwd !== cluster) return false
  const command = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
  return command.trim() === 'postgres'
}

/** false when it was gone already, or is not ours to signal. */
export function sendSignal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}
