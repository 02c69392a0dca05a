// The disk below the journals of one node: bytes in memory, in the form that the real journal has. A write takes time; a crash leaves
// a prefix of what was being written; a full disk takes a part or nothing.
import type { InstanceFiles } from '../../src/agent/execute/files.ts'
import { decodeLine, encodeLine, scanLines } from '../../src/agent/journal/lines.ts'
import { JournalLine } from '../../src/agent/model/record.ts'
import { err, OK, ok } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { Chance } from './chance.ts'
import type { LifeClock } from './clock.ts'

export type DiskState = 'fine' | 'full' | 'read-only'

export interface DiskHooks {
  /** Before the bytes, in the middle of them, after them and before the answer. May kill the agent. */
  readonly onAppend: (moment: 'before' | 'torn' | 'after') => void
  /** The line is on the disk. */
  readonly onDurable: (id: InstanceId, line: JournalLine) => void
  readonly onRemoved: (id: InstanceId) => void
}

const never = new Promise<never>(() => {})
const COMPACT_BYTES = 256 * 1024
const KEEP_LINES = 64

export class SimDisk {
  state: DiskState = 'fine'
  /** Of one write. */
  latencyMs = 1
  readonly journals = new Map<InstanceId, string>()
  /** Those for which there was no room: what they were let go is told and not written. */
  readonly refused = new Set<InstanceId>()
  readonly #chance: Chance

  constructor(chance: Chance) {
    this.#chance = chance
  }

  /** As one life of the agent opens it. */
  open(life: LifeClock, hooks: DiskHooks): InstanceFiles {
    const turns = new Map<InstanceId, Promise<unknown>>()
    const waited = () => life.sleep(this.latencyMs * (0.3 + this.#chance.fraction()))
    const appendNow: InstanceFiles['append'] = async (id, line) => {
      hooks.onAppend('before')
      if (life.dead) return never
      await waited()
      const refused = this.#refused(id)
      if (refused) return err(refused)
      const before = whole(this.journals.get(id) ?? '')
      const text = encodeLine(line)
      const half = Math.floor(this.#chance.fraction() * text.length)
      this.journals.set(id, before + text.slice(0, half))
      hooks.onAppend('torn')
      if (life.dead) return never
      this.journals.set(id, compacted(before + text))
      hooks.onDurable(id, line)
      hooks.onAppend('after')
      return life.dead ? never : OK
    }
    return {
      append(id, line) {
        const mine = (turns.get(id) ?? Promise.resolve()).then(() => appendNow(id, line))
        turns.set(id, mine)
        return mine
      },
      remove: async (id) => {
        await waited()
        if (this.state === 'read-only') return err(failure('file_error', 'simulated: EROFS.', { errno: 'EROFS' }))
        this.journals.delete(id)
        hooks.onRemoved(id)
        return OK
      },
      load: async () => {
        await waited()
        // As the real one does: an agent ended in its first write.
        for (const [id, text] of this.journals) if (!text.includes('\n')) this.journals.delete(id)
        return ok([...this.journals.keys()].sort().flatMap((id) => this.#read(id)))
      },
    }
  }

  /** The newest line of an instance, as whoever came next would read it. */
  last(id: InstanceId): JournalLine | undefined {
    return this.#read(id)[0]?.last
  }

  #read(id: InstanceId) {
    const lines = scanLines(Buffer.from(this.journals.get(id) ?? '')).lines.map((line) => JournalLine.parse(decodeLine(line)))
    const last = lines.at(-1)
    return last ? [{ last, transitions: lines.flatMap((line) => line.transitions) }] : []
  }

  #refused(id: InstanceId) {
    if (this.state === 'fine') return null
    this.refused.add(id)
    if (this.state === 'read-only') return failure('file_error', `simulated: ${id}: EROFS.`, { errno: 'EROFS' })
    // A full disk often takes the first bytes.
    if (this.#chance.happens(0.5)) this.journals.set(id, `${whole(this.journals.get(id) ?? '')}0000`)
    return failure('disk_full', `simulated: no room left for ${id}.`, { errno: 'ENOSPC' })
  }
}

/** Without what a crash left after the last line feed. */
const whole = (text: string): string => text.slice(0, text.lastIndexOf('\n') + 1)

function compacted(text: string): string {
  if (text.length <= COMPACT_BYTES) return text
  return text
    .split('\n')
    .slice(-KEEP_LINES - 1)
    .join('\n')
}
