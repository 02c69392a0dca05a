// The output of an instance as text, for JSON. Pieces are cut anywhere, so a character may begin in one and end in the next of the same
// stream: what is not whole yet waits for the rest. Bytes that are no UTF-8 become U+FFFD, and so does half a character at the end of
// the stream or before a gap, where the other half will never come.
import { TextDecoder } from 'node:util'
import type { OutputChunk } from '../client/stream.ts'

export type TextPiece = Omit<OutputChunk, 'data'> & { readonly data: string }

interface Half {
  readonly decoder: TextDecoder
  at: string | null
}

/** Of one answer of logs or exec. */
export class TextPieces {
  readonly #halves = new Map<OutputChunk['stream'], Half>()

  /** What can be told now, in order; nothing for a chunk that only begins a character. */
  take({ stream, at, data, lostBytes }: OutputChunk): readonly TextPiece[] {
    const before = lostBytes > 0 ? this.#rest(stream) : []
    const half = this.#halves.get(stream) ?? { decoder: new TextDecoder('utf-8', { ignoreBOM: true }), at }
    this.#halves.set(stream, half)
    half.at = at
    const text = half.decoder.decode(data, { stream: true })
    return text === '' && lostBytes === 0 ? before : [...before, { stream, at, data: text, lostBytes }]
  }

  /** Nothing more comes. */
  end(): readonly TextPiece[] {
    return [...this.#halves.keys()].flatMap((stream) => this.#rest(stream))
  }

  #rest(stream: OutputChunk['stream']): readonly TextPiece[] {
    const half = this.#halves.get(stream)
    this.#halves.delete(stream)
    const text = half?.decoder.decode() ?? ''
    return half && text !== '' ? [{ stream, at: half.at, data: text, lostBytes: 0 }] : []
  }
}
