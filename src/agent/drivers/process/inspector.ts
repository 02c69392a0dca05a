// What an incarnation is right now, from its files and /proc. Nothing is remembered that could change: only files written once and the
// nonce of a process already verified. All reads are of tiny files in the page cache or /proc and are synchronous (see proc.ts).
//
// A file that cannot be read, or is not what was written, is none of these: `look` throws.
//
//   none      never was, nothing of it was ever executed, or removed
//   pending   its keeper is on its way: about to start it, or about to write down how it ended
//   live      the process we started is there (pid, start time, boot, and its nonce where that can be read)
//   ended     it is not; `exit` null = its keeper was killed first, so nobody knows
import { join } from 'node:path'
import type { Exit } from '../../../contracts/phase.ts'
import type { Seen } from '../driver.ts'
import { frozenState, oomKills } from './cgroups.ts'
import { signalName } from './failures.ts'
import { isAlive, readBootId, readStat, readVariable } from './proc.ts'
import { ExitRecord, type Keeper, namesIn, type Run, readKeeper, readRecord, readStarting, readText, Started, Want } from './records.ts'

export type Sight =
  | { readonly kind: 'none'; readonly failed: string | null }
  | { readonly kind: 'pending'; readonly want: Want; readonly started: Started | null; readonly kept: boolean }
  | {
      readonly kind: 'live'
      readonly want: Want
      readonly started: Started
      readonly paused: boolean
      readonly attended: boolean
      readonly matches: boolean
      readonly notes: readonly string[]
    }
  | {
      readonly kind: 'ended'
      readonly want: Want
      readonly started: Started | null
      readonly exit: Exit | null
      /** Whether its keeper has gone too, and with it every descendant. */
      readonly settled: boolean
      /** False when its pid now names a stranger. */
      readonly matches: boolean
    }

/** In place of a failed step: nobody got as far as one. */
export const NEVER_STARTED = 'never started'

const MARKS: ReadonlySet<string> = new Set(['starting', 'started', 'failed', 'exit'])

interface Known {
  want: Want | null
  started: Started | null
  /** The process was seen with our nonce. */
  verified: boolean
  ended: Sight | null
}

export class Inspector {
  readonly #known = new Map<string, Known>()
  #bootId: string | undefined

  look(run: Run): Sight {
    const names = new Set(namesIn(run.dir))
    const known = this.#knownOf(run)
    // Somebody took the folder away. What was started from it is not gone with it, and must neither be started twice nor be lost to a stop.
    if (names.size === 0 && known.want && known.started && !known.ended) return this.#started(run, known, known.want, known.started, true)
    if (!names.has('want') || names.has('removed')) {
      this.#known.delete(run.dir)
      return { kind: 'none', failed: null }
    }
    if (names.has('failed')) return this.#failed(run)
    if (known.ended) return known.ended
    known.want ??= readRecord(Want, join(run.dir, 'want'))
    if (!known.want) return { kind: 'none', failed: null }
    if (names.has('started')) known.started ??= readRecord(Started, join(run.dir, 'started'))
    else if (names.has('starting')) known.started ??= readStarting(run)
    if (names.has('exit')) return this.#ended(run, known, known.want)
    if (!known.started) return this.#unstarted(run, known.want, names)
    return this.#started(run, known, known.want, known.started, names.has('started'))
  }

  /** Drops what is remembered of folders that are gone. */
  forget(dir: string): void {
    for (const path of this.#known.keys()) if (path === dir || path.startsWith(`${dir}/`)) this.#known.delete(path)
  }

  #knownOf(run: Run): Known {
    const known = this.#known.get(run.dir) ?? { want: null, started: null, verified: false, ended: null }
    this.#known.set(run.dir, known)
    return known
  }

  #failed(run: Run): Sight {
    return { kind: 'none', failed: (readText(join(run.dir, 'failed')) ?? '').trim() }
  }

  #unstarted(run: Run, want: Want, names: ReadonlySet<string>): Sight {
    if (!names.has('lock')) return { kind: 'pending', want, started: null, kept: false }
    const keeper = readKeeper(run)
    // Ours, taken by `claim`, names no keeper.
    if (keeper !== null && this.#keeps(keeper)) return { kind: 'pending', want, started: null, kept: true }
    // It may have written more, and ended, since we read the folder.
    if (namesIn(run.dir).some((name) => MARKS.has(name) && !names.has(name))) return { kind: 'pending', want, started: null, kept: true }
    // It died before it let the workload go: the child ended by itself without having executed anything.
    return { kind: 'none', failed: NEVER_STARTED }
  }

  #started(run: Run, known: Known, want: Want, started: Started, executed: boolean): Sight {
    const stat = started.bootId === this.#boot() ? readStat(started.pid) : null
    const attended = this.#keeps(started)
    if (!stat || stat.startTime !== started.startTime || stat.state === 'Z' || stat.state === 'X') {
      if (attended) return { kind: 'pending', want, started, kept: true }
      // The keeper may have written how it went between our look at the folder and at the process.
      const names = namesIn(run.dir)
      if (names.includes('exit')) return this.#ended(run, known, want)
      if (names.includes('failed')) return this.#failed(run)
      const reused = stat !== null && stat.startTime !== started.startTime
      return { kind: 'ended', want, started, exit: null, settled: true, matches: !reused }
    }
    // Not executed yet; if the keeper is gone, nobody will say when it is.
    if (!executed && attended) return { kind: 'pending', want, started: null, kept: true }
    // A keeper that has just ended after our look at the process was not killed: it has written why.
    const last = executed || attended ? [] : namesIn(run.dir)
    if (last.includes('failed')) return this.#failed(run)
    if (last.includes('exit')) return this.#ended(run, known, want)
    const notes = [...want.notes]
    if (!attended) notes.push('its keeper was killed: how it ends will not be known')
    let matches = true
    // Until the exec the process still has the keeper's own environment.
    if (!known.verified && executed) {
      const nonce = readVariable(started.pid, 'HOLDFAST_NONCE')
      matches = nonce.kind === 'unknown' || nonce.value === want.nonce
      known.verified = nonce.kind === 'value' && matches
      if (nonce.kind === 'unknown') notes.push('its environment cannot be read: known by pid and start time only')
    }
    if (oomKills(want.groups) > 0) notes.push('memory limit exceeded: the kernel has killed a part of it')
    const frozen = frozenState(want.groups)
    const paused = stat.state === 'T' || (frozen !== null && frozen !== 'no')
    return { kind: 'live', want, started, paused, attended, matches, notes }
  }

  #ended(run: Run, known: Known, want: Want): Sight {
    const record = readRecord(ExitRecord, join(run.dir, 'exit'))
    const exit = record && { ...record, signal: record.signal === null ? null : signalName(record.signal) }
    const settled = known.started === null || !this.#keeps(known.started)
    const sight: Sight = { kind: 'ended', want, started: known.started, exit, settled, matches: true }
    if (settled) known.ended = sight
    return sight
  }

  #keeps(keeper: Keeper): boolean {
    return keeper.bootId === this.#boot() && isAlive(keeper.keeperPid, keeper.keeperStartTime)
  }

  #boot(): string {
    this.#bootId ??= readBootId()
    return this.#bootId
  }
}

export function toSeen(run: Run, sight: Sight): Seen | null {
  if (sight.kind === 'none') return null
  const { want } = sight
  const common = { id: run.id, incarnation: run.incarnation, nonce: want.nonce, addresses: want.addresses, cloudInit: null }
  const idle = {
    ...common,
    pid: null,
    startTime: null,
    exit: null,
    startedAtMs: sight.started?.atMs ?? null,
    notes: want.notes,
    matches: true,
  }
  if (sight.kind === 'live') {
    const { pid, startTime, atMs } = sight.started
    const state = sight.paused ? 'paused' : 'running'
    return { ...common, state, pid, startTime, exit: null, startedAtMs: atMs, notes: sight.notes, matches: sight.matches }
  }
  if (sight.kind === 'ended') {
    const notes = sight.matches ? want.notes : [...want.notes, 'its pid now belongs to another process']
    return { ...idle, state: 'dead', exit: sight.exit, notes, matches: sight.matches }
  }
  // A keeper that lives but does not get to writing down the end of its process: dead all the same.
  return { ...idle, state: sight.started ? 'dead' : 'created' }
}
