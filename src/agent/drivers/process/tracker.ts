// Learns of changes. Each living incarnation has an inotify watch on its folder: the keeper's renames (`started`, `failed`, `exit`) arrive
// within a millisecond, for our own keepers and for adopted ones alike. What inotify cannot tell is looked at once a second: incarnations
// whose keeper was killed, or for which no watch could be had (the machine's limit). Adopted keepers are checked every five seconds;
// the end of our own ones is told by the kernel. An exit is reported once per incarnation.
import { type FSWatcher, watch } from 'node:fs'
import type { Clock } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import type { Run } from './records.ts'

const POLL_MS = 1000
const KEEPER_CHECK_TICKS = 5
/** An abort without a reason makes an error with its stack; of a wait that ends every time nobody reads one. */
export const WOKEN = 'woken'

export interface Tracked {
  readonly run: Run
  /** Its keeper is a child of this process and its end is told to us. */
  own: boolean
  /** False: nobody will write the end down; look at the process itself. */
  attended: boolean
  reported: boolean
  watcher: FSWatcher | null
  readonly wakeups: Set<() => void>
}

export interface TrackerDeps {
  readonly clock: Clock
  readonly log: Logger
  /** The incarnation has ended, for whatever reason; called once. */
  onEnd(run: Run): void
  /** Looks at the process of an incarnation that no keeper watches, or at an adopted keeper. */
  check(run: Run): 'lives' | 'unattended' | 'ended'
}

export class Tracker {
  readonly #deps: TrackerDeps
  readonly #tracked = new Map<string, Tracked>()
  #cancelTick: (() => void) | undefined
  #ticks = 0
  #closed = false

  constructor(deps: TrackerDeps) {
    this.#deps = deps
  }

  /** Again for the same incarnation: the same. Look at the files after this call, not before, or a change between is lost. */
  track(run: Run, own = false): Tracked {
    const known = this.#tracked.get(run.dir)
    if (known) return known
    const tracked: Tracked = { run, own, attended: true, reported: false, watcher: null, wakeups: new Set() }
    if (this.#closed) return tracked
    this.#tracked.set(run.dir, tracked)
    try {
      tracked.watcher = watch(run.dir, { persistent: false }, (_event, name) => this.#changed(tracked, name))
      tracked.watcher.on('error', (error) => this.#blind(tracked, error))
    } catch (error) {
      this.#blind(tracked, error)
    }
    this.#cancelTick ??= this.#deps.clock.after(POLL_MS, () => this.#tick())
    return tracked
  }

  /** All that are watched, of one instance or of all. */
  runs(id?: InstanceId): readonly Run[] {
    return [...this.#tracked.values()].map(({ run }) => run).filter((run) => id === undefined || run.id === id)
  }

  get(run: Run): Tracked | undefined {
    return this.#tracked.get(run.dir)
  }

  /** It will not change any more; with `report` its end is told, if it has not been. */
  untrack(run: Run, report: boolean): void {
    const tracked = this.#tracked.get(run.dir)
    if (!tracked) return
    this.#tracked.delete(run.dir)
    tracked.watcher?.close()
    if (report) this.#report(tracked)
    wake(tracked)
  }

  /** Our own keeper has ended: normally after `exit`, but it may have been killed. */
  keeperEnded(run: Run): void {
    const tracked = this.#tracked.get(run.dir)
    if (!tracked) return
    tracked.own = false
    this.#checkOne(tracked)
    wake(tracked)
  }

  /** Resolves at the next change of the incarnation, after the time, or when aborted; says nothing about which. */
  async next(run: Run, atMostMs: number, signal: AbortSignal): Promise<void> {
    const tracked = this.#tracked.get(run.dir)
    const woken = new AbortController()
    const wakeup = () => woken.abort(WOKEN)
    tracked?.wakeups.add(wakeup)
    signal.addEventListener('abort', wakeup, { once: true })
    if (signal.aborted) wakeup()
    // A sleep and not a watch alone keeps this process alive while somebody waits.
    await this.#deps.clock.sleep(atMostMs, woken.signal).catch(() => undefined)
    tracked?.wakeups.delete(wakeup)
    signal.removeEventListener('abort', wakeup)
  }

  close(): void {
    this.#closed = true
    this.#cancelTick?.()
    for (const tracked of this.#tracked.values()) {
      tracked.watcher?.close()
      wake(tracked)
    }
    this.#tracked.clear()
  }

  #changed(tracked: Tracked, name: string | null): void {
    if (name === 'exit') this.untrack(tracked.run, true)
    else wake(tracked)
  }

  #report(tracked: Tracked): void {
    if (tracked.reported || this.#closed) return
    tracked.reported = true
    this.#deps.onEnd(tracked.run)
  }

  #blind(tracked: Tracked, error: unknown): void {
    tracked.watcher?.close()
    tracked.watcher = null
    this.#deps.log.warn('no file watch; looking every second instead', { instance_id: tracked.run.id, error: String(error) })
  }

  #tick(): void {
    this.#ticks += 1
    const keepersToo = this.#ticks % KEEPER_CHECK_TICKS === 0
    for (const tracked of this.#tracked.values()) {
      if (!tracked.attended || tracked.watcher === null || (keepersToo && !tracked.own)) this.#checkOne(tracked)
    }
    this.#cancelTick = this.#tracked.size > 0 && !this.#closed ? this.#deps.clock.after(POLL_MS, () => this.#tick()) : undefined
  }

  #checkOne(tracked: Tracked): void {
    const found = this.#deps.check(tracked.run)
    if (found === 'unattended') tracked.attended = false
    if (found === 'ended') this.untrack(tracked.run, true)
  }
}

function wake(tracked: Tracked): void {
  for (const wakeup of [...tracked.wakeups]) wakeup()
}
