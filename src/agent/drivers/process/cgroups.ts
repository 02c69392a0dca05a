// Control groups: limits, freezing and figures of an incarnation's whole process tree. Version 2 where its controllers are, version 1
// otherwise, nothing where neither can be written. What is usable is found by doing it once: a group is made and given a limit.
//
// All groups are below our own top-level group `holdfast-<hash of the state directory>`, one directory per incarnation (version 1: in
// each controller). The keeper removes them when the last process has gone; leftovers of a crash go at the next start.
import { existsSync, mkdirSync, readFileSync, realpathSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fingerprint } from '../../../base/hash.ts'
import { errnoOf } from './failures.ts'
import { namesIn } from './records.ts'

export interface Limits {
  readonly memoryBytes: number
  readonly cpuMillis: number
}

export interface Cgroups {
  readonly mode: 'cgroup-v2' | 'cgroup-v1' | 'none'
  /** Why there are no limits; empty otherwise. */
  readonly why: string
  /** Makes the groups of one incarnation and sets its limits; throws a file error. Again: the same groups, limits set anew. */
  create(name: string, limits: Limits): readonly string[]
  /** Removes empty groups that nobody uses any more, at the end also the top-level ones. */
  sweep(): void
}

export const CGROUP_ROOT = '/sys/fs/cgroup'

/** cpu.weight of version 2: 100 is one CPU's worth against others. */
export const cpuWeight = (cpuMillis: number): number => Math.min(10_000, Math.max(1, Math.round(cpuMillis / 10)))
/** cpu.shares of version 1: 1024 is one CPU's worth; the kernel's minimum is 2. */
export const cpuShares = (cpuMillis: number): number => Math.min(262_144, Math.max(2, Math.round((cpuMillis * 1024) / 1000)))

export function openCgroups(stateDir: string, root: string = CGROUP_ROOT): Cgroups {
  const top = `holdfast-${fingerprint(stateDir).slice(0, 8)}`
  const refusals: string[] = []
  for (const candidate of [versionTwo(root, top), versionTwo(join(root, 'unified'), top), versionOne(root, top)]) {
    if (!candidate) continue
    try {
      candidate.prepare()
      const found = candidate.create('probe', { memoryBytes: 64 * 2 ** 20, cpuMillis: 1000 })
      removeGroups(found)
      return { ...candidate, create: (name, limits) => createAgain(candidate, name, limits), why: '' }
    } catch (error) {
      candidate.sweep()
      refusals.push(`${candidate.mode} is not writable (${errnoOf(error) ?? String(error)})`)
    }
  }
  const why = refusals.length > 0 ? refusals.join(', ') : `no memory and cpu controllers below ${root}`
  return { mode: 'none', why, create: () => [], sweep: () => undefined }
}

/** The keeper of another incarnation may have removed the top-level group, empty for a moment, under our feet. */
function createAgain(candidate: Candidate, name: string, limits: Limits): readonly string[] {
  try {
    return candidate.create(name, limits)
  } catch {
    candidate.prepare()
    return candidate.create(name, limits)
  }
}

type Candidate = Omit<Cgroups, 'why'> & { prepare(): void }

function versionTwo(root: string, top: string): Candidate | undefined {
  const has = (dir: string, file: string) => (read(join(dir, file)) ?? '').split(/\s+/)
  const wanted = ['memory', 'cpu']
  if (!wanted.every((name) => has(root, 'cgroup.controllers').includes(name))) return undefined
  const enable = (dir: string) => {
    if (!wanted.every((name) => has(dir, 'cgroup.subtree_control').includes(name)))
      writeFileSync(join(dir, 'cgroup.subtree_control'), '+memory +cpu')
  }
  const base = join(root, top)
  const prepare = () => {
    enable(root)
    mkdirSync(base, { recursive: true })
    enable(base)
  }
  return {
    mode: 'cgroup-v2',
    prepare,
    create(name, limits) {
      const dir = join(base, name)
      // Not recursive: a top-level group made by the way would lack the controllers.
      mkdirIfMissing(dir)
      writeFileSync(join(dir, 'memory.max'), String(limits.memoryBytes))
      // Without this a cap would only push the workload into swap. Absent where the kernel accounts no swap.
      writeIfThere(join(dir, 'memory.swap.max'), '0')
      writeFileSync(join(dir, 'cpu.weight'), String(cpuWeight(limits.cpuMillis)))
      return [dir]
    },
    sweep: () => sweepBelow([base]),
  }
}

function versionOne(root: string, top: string): Candidate | undefined {
  if (!existsSync(join(root, 'memory', 'memory.limit_in_bytes')) || !existsSync(join(root, 'cpu', 'cpu.shares'))) return undefined
  // cpu and cpuacct are often one hierarchy under two names.
  const mounts = ['memory', 'cpu', 'cpuacct', 'freezer'].map((name) => join(root, name)).filter((dir) => existsSync(join(dir, 'tasks')))
  const bases = [...new Set(mounts.map((dir) => realpathSync(dir)))].map((dir) => join(dir, top))
  return {
    mode: 'cgroup-v1',
    prepare: () => undefined,
    create(name, limits) {
      const dirs = bases.map((base) => join(base, name))
      for (const dir of dirs) {
        mkdirSync(dir, { recursive: true })
        if (existsSync(join(dir, 'cpu.shares'))) writeFileSync(join(dir, 'cpu.shares'), String(cpuShares(limits.cpuMillis)))
      }
      const memory = dirs[0] ?? ''
      writeFileSync(join(memory, 'memory.limit_in_bytes'), String(limits.memoryBytes))
      writeIfThere(join(memory, 'memory.memsw.limit_in_bytes'), String(limits.memoryBytes))
      return dirs
    },
    sweep: () => sweepBelow(bases),
  }
}

function sweepBelow(bases: readonly string[]): void {
  for (const base of bases) removeGroups([...namesIn(base).map((name) => join(base, name)), base])
}

/** Removes groups that are empty; one that is in use, or is no group, stays. */
export function removeGroups(groups: readonly string[]): void {
  for (const dir of groups) {
    try {
      rmdirSync(dir)
    } catch (error) {
      if (!['ENOENT', 'EBUSY', 'ENOTDIR', 'ENOTEMPTY', 'EPERM', 'EACCES', 'EROFS'].includes(errnoOf(error) ?? '')) throw error
    }
  }
}

/** The file in which the kernel counts kills for exceeding the cap. */
export function oomFile(groups: readonly string[]): string | null {
  for (const dir of groups)
    for (const name of ['memory.events', 'memory.oom_control']) if (existsSync(join(dir, name))) return join(dir, name)
  return null
}

export function oomKills(groups: readonly string[]): number {
  const file = oomFile(groups)
  return file === null ? 0 : field(read(file), 'oom_kill')
}

export function groupPids(groups: readonly string[]): readonly number[] {
  const [first] = groups
  const text = first === undefined ? null : read(join(first, 'cgroup.procs'))
  return (text ?? '')
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 1)
}

/** Kills every member at once where the kernel can (version 2 since 5.14); false elsewhere. */
export const killGroup = (groups: readonly string[]): boolean => groups.some((dir) => writeIfThere(join(dir, 'cgroup.kill'), '1'))

/** False when these groups cannot be frozen. Freezing may take effect a little later. */
export function setFrozen(groups: readonly string[], frozen: boolean): boolean {
  return groups.some(
    (dir) =>
      writeIfThere(join(dir, 'cgroup.freeze'), frozen ? '1' : '0') ||
      writeIfThere(join(dir, 'freezer.state'), frozen ? 'FROZEN' : 'THAWED'),
  )
}

/** Null when these groups cannot be frozen. `partly`: asked for, not yet reached. */
export function frozenState(groups: readonly string[]): 'no' | 'partly' | 'yes' | null {
  for (const dir of groups) {
    const old = read(join(dir, 'freezer.state'))?.trim()
    if (old !== undefined) return old === 'THAWED' ? 'no' : old === 'FROZEN' ? 'yes' : 'partly'
    const wanted = read(join(dir, 'cgroup.freeze'))?.trim()
    if (wanted !== undefined) return wanted !== '1' ? 'no' : field(read(join(dir, 'cgroup.events')), 'frozen') === 1 ? 'yes' : 'partly'
  }
  return null
}

export interface GroupUsage {
  readonly memoryBytes: number
  readonly cpuSeconds: number | null
  readonly processes: number
}

/** Null without a memory group. Memory is without the file cache that the kernel would give back at once. */
export function groupUsage(groups: readonly string[]): GroupUsage | null {
  const [first] = groups
  if (first === undefined) return null
  const used = read(join(first, 'memory.current')) ?? read(join(first, 'memory.usage_in_bytes'))
  if (used === undefined) return null
  const stat = read(join(first, 'memory.stat'))
  const idle = /^total_inactive_file /m.test(stat ?? '') ? field(stat, 'total_inactive_file') : field(stat, 'inactive_file')
  return { memoryBytes: Math.max(0, Number(used) - idle), cpuSeconds: cpuSeconds(groups), processes: groupPids(groups).length }
}

function cpuSeconds(groups: readonly string[]): number | null {
  for (const dir of groups) {
    const old = read(join(dir, 'cpuacct.usage'))
    if (old !== undefined) return Number(old) / 1e9
    const stat = read(join(dir, 'cpu.stat'))
    if (stat?.includes('usage_usec')) return field(stat, 'usage_usec') / 1e6
  }
  return null
}

const field = (text: string | undefined, name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '')?.[1] ?? 0)

function read(path: string): string | undefined {
  // Most questions are for a file that the other version or another controller has; an exception would cost ten times this.
  if (!existsSync(path)) return undefined
  try {
    return readFileSync(path, 'latin1')
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENODEV', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}

function mkdirIfMissing(dir: string): void {
  try {
    mkdirSync(dir)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
  }
}

/** False when the file does not exist. */
function writeIfThere(path: string, text: string): boolean {
  if (!existsSync(path)) return false
  try {
    writeFileSync(path, text)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return false
    throw error
  }
}
