/** Text lines of a byte stream, without their ends (LF or CRLF). A line longer than `bytesMax` ends it with an error. */
export async function* readLines(body: ReadableStream<Uint8Array>, bytesMax: number): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  // Pieces are joined once per line: adding to one text for each chunk would be quadratic in a long line.
  let pieces: string[] = []
  let length = 0
  for await (const chunk of body) {
    const parts = decoder.decode(chunk, { stream: true }).split('\n')
    for (const [index, part] of parts.entries()) {
      if (index > 0) {
        yield withoutCarriageReturn(pieces.join(''))
        pieces = []
        length = 0
      }
      if (part === '') continue
      pieces.push(part)
      length += part.length
      if (length > bytesMax) throw new Error(`a line is longer than ${bytesMax} bytes`)
    }
  }
  if (pieces.length > 0) yield withoutCarriageReturn(pieces.join(''))
}

const withoutCarriageReturn = (line: string) => (line.endsWith('\r') ? line.slice(0, -1) : line)
