// Speaks to keeper.pl: finds Perl, packs a job, reads one back, spawns. See the head of keeper.pl for the protocol.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { accessSync, constants, readFileSync, readlinkSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Started } from './records.ts'
import type { Identity } from './users.ts'

const KEEPER_PATH = fileURLToPath(new URL('./keeper.pl', import.meta.url))
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

const PERL_PATHS = ['/usr/bin/perl', '/bin/perl', '/usr/local/bin/perl']

/** The keeper calls the kernel by number, and knows the numbers of these. */
export const archOf = (arch: string): string | undefined => ({ x64: 'x64', arm64: 'arm64' })[arch]

/** Null when this machine has none. */
export function findPerl(paths: readonly string[] = PERL_PATHS): string | null {
  for (const path of paths) {
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not this one.
    }
  }
  return null
}

/** Asks Perl for its version, which also proves that it runs; null when it does not. */
export function perlVersion(perl: string, signal: AbortSignal): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(perl, ['-e', 'print $^V'], { env: {}, signal, timeout: 10_000 }, (error, stdout) => resolve(error ? null : stdout))
  })
}

/** What to execute, and as whom. */
export interface Job {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly identity: Identity | null
  readonly groups: readonly string[]
}

/** Everything of the workload has a prefix, so that nothing in it (LD_PRELOAD, PERL5OPT) means anything to Perl or libc. */
export function pack(job: Job, settings: Readonly<Record<string, string>>): Record<string, string> {
  return {
    ...settings,
    cwd: job.cwd,
    cgroups: job.groups.join('\n'),
    ...(job.identity && { uid: String(job.identity.uid), gid: String(job.identity.gid), groups: job.identity.groups.join(',') }),
    ...Object.fromEntries(Object.entries(job.env).map(([name, value]) => [`+${name}`, value])),
    ...Object.fromEntries(job.command.map((text, index) => [`a${index}`, text])),
  }
}

/** The job of a living incarnation: from its keeper's memory, or from the main process itself when the keeper is gone. */
export function recallJob(started: Started, attended: boolean, groups: readonly string[]): Job | null {
  const packed = attended ? mapOf(readEntries(`/proc/${started.keeperPid}/fd/${started.jobFd}`)) : null
  if (packed) {
    const env = Object.fromEntries([...packed].filter(([name]) => name.startsWith('+')).map(([name, value]) => [name.slice(1), value]))
    const uid = packed.get('uid')
    const identity =
      uid === undefined
        ? null
        : { uid: Number(uid), gid: Number(packed.get('gid')), groups: (packed.get('groups') ?? '').split(',').map(Number) }
    return { command: [], env, cwd: packed.get('cwd') ?? '/', identity, groups }
  }
  const own = mapOf(readEntries(`/proc/${started.pid}/environ`))
  if (!own) return null
  try {
    const status = readFileSync(`/proc/${started.pid}/status`, 'latin1')
    const ids = (name: string) =>
      (new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '').trim().split(/\s+/).filter(Boolean).map(Number)
    const [uid = 0] = ids('Uid')
    const [gid = 0] = ids('Gid')
    const identity = uid === process.getuid?.() ? null : { uid, gid, groups: ids('Groups') }
    return { command: [], env: Object.fromEntries(own), cwd: readlinkSync(`/proc/${started.pid}/cwd`), identity, groups }
  } catch {
    return null
  }
}

function readEntries(path: string): readonly string[] | null {
  try {
    const text = readFileSync(path, 'utf8')
    return text === '' ? null : text.split('\0').slice(0, -1)
  } catch {
    return null
  }
}

const mapOf = (entries: readonly string[] | null): ReadonlyMap<string, string> | null =>
  entries && new Map(entries.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]))

/** Of its own session, so that a signal to our terminal's group does not reach it; it ends when its input does, that is, with us. */
export function spawnForge(perl: string, arch: string, dir: string): ChildProcess {
  return spawn(perl, [KEEPER_PATH, 'forge', arch], { cwd: dir, env: {}, detached: true, stdio: ['pipe', 'pipe', 'ignore'] })
}

/** A command beside a workload: streams on 0, 1, 2 and its outcome on 3; it ends with us. Throws or emits `error` when it cannot be made. */
export function spawnBeside(perl: string, arch: string, env: Readonly<Record<string, string>>): ChildProcess {
  return spawn(perl, [KEEPER_PATH, 'exec', arch], { cwd: '/', env, detached: true, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] })
}
