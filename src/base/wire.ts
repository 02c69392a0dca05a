/**
 * One connection of text messages, in order, as both ends of the agent link use it. `ws` gives the real one, the simulator another.
 * Every connection ends with exactly one `close`, which an `error` only precedes.
 */
export interface Wire {
  /** One of `WIRE_STATE`. */
  readonly readyState: number
  /** Bytes that were sent and have not left this machine. */
  readonly bufferedAmount: number
  /** `sent` is called when the message has left, or never will. */
  send(text: string, sent?: (error?: Error | null) => void): void
  /** The other end answers with a pong by itself. */
  ping(): void
  /** Says goodbye, and ends when the other end has answered. */
  close(code?: number, reason?: string): void
  /** Ends at once. */
  terminate(): void
  /** Nothing is read until `resume`. */
  pause(): void
  resume(): void
  on(event: 'open' | 'pong', heard: () => void): unknown
  on(event: 'message', heard: (data: unknown, isBinary: boolean) => void): unknown
  on(event: 'error', heard: (error: Error) => void): unknown
  on(event: 'close', heard: (code: number) => void): unknown
  /** Of the end that dialled: the other side answered, and is not willing. */
  on(event: 'unexpected-response', heard: (request: unknown, response: RefusedUpgrade) => void): unknown
}

interface RefusedUpgrade {
  readonly statusCode?: number | undefined
  on(event: 'data', heard: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'error', heard: () => void): unknown
}

export const WIRE_STATE = { connecting: 0, open: 1, closing: 2, closed: 3 } as const
