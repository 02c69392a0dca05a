// What garbage collection knows of the runtimes and instances of this node: the newest listing of each runtime, and in which series of
// unbroken listings it stands. An outage, a failed or partial listing begins a new series; what was seen in an earlier one counts for
// nothing (an engine that was away may have done anything, and a listing of before is an old one).
import type { InstanceId } from '../../contracts/ids.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { GarbageObject, KnownInstance, RuntimeView } from '../model/garbage.ts'
import type { Entry } from './entry.ts'
import type { Listed } from './scanner.ts'

interface View {
  readonly series: number
  /** Null since the series began. */
  readonly listed: Listed | null
}

const FIRST: View = { series: 0, listed: null }

export class Survey {
  readonly #views = new Map<Runtime, View>()
  readonly #runtimes: readonly Runtime[]
  readonly #entries: ReadonlyMap<InstanceId, Entry>

  constructor(runtimes: readonly Runtime[], entries: ReadonlyMap<InstanceId, Entry>) {
    this.#runtimes = runtimes
    this.#entries = entries
  }

  heard(runtime: Runtime, listed: Listed | null): void {
    const before = this.#views.get(runtime) ?? FIRST
    const series = listed === null ? before.series + 1 : before.series
    this.#views.set(runtime, { series, listed })
  }

  /** Its newest listing misses nothing and began no earlier than that, in elapsed milliseconds. */
  isListedSince(runtime: Runtime, elapsedMs: number): boolean {
    const listed = this.#views.get(runtime)?.listed
    return listed !== null && listed !== undefined && listed.startedMs >= elapsedMs
  }

  series(runtime: Runtime): number {
    return this.#views.get(runtime)?.series ?? 0
  }

  /** `isTrusted`: its newest listing is new enough and it says that it can be used. */
  runtimes(isTrusted: (runtime: Runtime) => boolean): readonly RuntimeView[] {
    return this.#runtimes.map((runtime) => {
      const { series, listed } = this.#views.get(runtime) ?? FIRST
      return listed !== null && isTrusted(runtime)
        ? { runtime, series, trusted: true, objects: [...listed.byId.values()].flat().map(garbageObject) }
        : { runtime, series, trusted: false, objects: [] }
    })
  }

  instances(): readonly KnownInstance[] {
    return [...this.#entries.values()].map((entry) => {
      const { desired, incarnation, phase } = entry.record
      const listed = this.#views.get(desired.spec.runtime)?.listed
      return {
        id: desired.id,
        runtime: desired.spec.runtime,
        incarnation,
        phase: phase.kind,
        busy: this.#isBusy(entry, listed?.epochs.get(desired.id)),
        image: desired.spec.image,
      }
    })
  }

  /** Whether what was seen of it when the choice was made still holds. */
  isUntouched(id: InstanceId): boolean {
    const entry = this.#entries.get(id)
    return entry !== undefined && !this.#isBusy(entry, this.#views.get(entry.record.desired.spec.runtime)?.listed?.epochs.get(id))
  }

  /** An effect is under way, was since the listing began, or a wish is about to have one. */
  #isBusy(entry: Entry, epoch: number | undefined): boolean {
    return entry.actionUnderWay !== null || isWishedAnew(entry) || entry.disowned || epoch !== entry.epoch
  }
}

const garbageObject = (seen: Listed['byId'] extends ReadonlyMap<InstanceId, readonly (infer S)[]> ? S : never): GarbageObject => ({
  id: seen.id,
  incarnation: seen.incarnation,
  nonce: seen.nonce,
  alive: seen.state === 'running' || seen.state === 'paused',
  matches: seen.matches,
  endedAtMs: seen.exit?.atMs ?? seen.startedAtMs,
})

const isWishedAnew = ({ wish, record }: Entry): boolean => wish !== null && wish.generation > record.desired.generation
