// What this driver has heard of containers that the engine itself does not keep: when it last reported a kill for memory inside, and
// since when the container ran, to notice a restart by somebody else. Lost with the agent; nothing is decided by it alone. Bounded.
const ENTRIES_MAX = 20_000

interface Heard {
  readonly oomAtMs: number | null
  readonly startedAt: string | null
}

const NOTHING: Heard = { oomAtMs: null, startedAt: null }

export class Memory {
  readonly #heard = new Map<string, Heard>()

  oom(containerId: string, atMs: number): void {
    this.#set(containerId, { ...this.of(containerId), oomAtMs: atMs })
  }

  started(containerId: string, startedAt: string): void {
    this.#set(containerId, { ...this.of(containerId), startedAt })
  }

  forget(containerId: string): void {
    this.#heard.delete(containerId)
  }

  of(containerId: string): Heard {
    return this.#heard.get(containerId) ?? NOTHING
  }

  #set(containerId: string, heard: Heard): void {
    this.#heard.set(containerId, heard)
    const oldest = this.#heard.size > ENTRIES_MAX ? this.#heard.keys().next().value : undefined
    if (oldest !== undefined) this.#heard.delete(oldest)
  }
}
