// Things due at a time, on one timer for all of them: thousands of idle checks cost a heap and a wake-up, not thousands of timers.
import type { Clock } from '../../base/clock.ts'

export interface Timeline<T> {
  add(item: T, dueMs: number): void
  /** Forgets everything; later additions are ignored. */
  close(): void
  readonly size: number
}

/** `onDue` gets the item and by how much the timer itself came late. Times are `clock.elapsedMs()`. */
export function createTimeline<T>(clock: Clock, onDue: (item: T, lateMs: number) => void): Timeline<T> {
  const heap: Slot<T>[] = []
  let armedForMs = Number.POSITIVE_INFINITY
  let cancel = () => {}
  let closed = false

  const arm = () => {
    const first = heap[0]
    if (closed || !first || first.dueMs >= armedForMs) return
    cancel()
    armedForMs = first.dueMs
    cancel = clock.after(Math.max(0, first.dueMs - clock.elapsedMs()), fire)
  }
  const fire = () => {
    const nowMs = clock.elapsedMs()
    const lateMs = Math.max(0, nowMs - armedForMs)
    armedForMs = Number.POSITIVE_INFINITY
    // Timers have whole milliseconds: what is due within this one is due now.
    for (let first = heap[0]; first && first.dueMs <= nowMs + 1 && !closed; first = heap[0]) {
      pop(heap)
      onDue(first.item, lateMs)
    }
    arm()
  }
  return {
    add(item, dueMs) {
      if (closed) return
      push(heap, { item, dueMs })
      arm()
    },
    close() {
      closed = true
      cancel()
      heap.length = 0
    },
    get size() {
      return heap.length
    },
  }
}

interface Slot<T> {
  readonly item: T
  readonly dueMs: number
}

function push<T>(heap: Slot<T>[], slot: Slot<T>): void {
  let at = heap.length
  heap.push(slot)
  while (at > 0) {
    const up = (at - 1) >> 1
    const parent = heap[up]
    if (!parent || parent.dueMs <= slot.dueMs) break
    heap[at] = parent
    at = up
  }
  heap[at] = slot
}

function pop<T>(heap: Slot<T>[]): void {
  const last = heap.pop()
  if (!last || heap.length === 0) return
  let at = 0
  for (;;) {
    const left = 2 * at + 1
    const [a, b] = [heap[left], heap[left + 1]]
    if (!a) break
    const child = b && b.dueMs < a.dueMs ? b : a
    if (child.dueMs >= last.dueMs) break
    heap[at] = child
    at = child === a ? left : left + 1
  }
  heap[at] = last
}
