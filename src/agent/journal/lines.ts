// The form of a journal: one record per line, `<crc32 of the JSON, 8 hex digits> <JSON>\n`. A line counts only with its line feed
// and a matching sum, so whatever a crash or a bad disk leaves is recognised and skipped, and never taken for a record.
import { crc32 } from 'node:zlib'

export interface JournalScan {
  /** Text of the valid lines, line feed included, oldest first. */
  readonly lines: readonly string[]
  /** Bytes up to and including the last line feed; what follows was never acknowledged. */
  readonly wholeBytes: number
}

const LF = 0x0a

export function encodeLine(record: unknown): string {
  const json = JSON.stringify(record)
  return `${sum(json)} ${json}\n`
}

export const decodeLine = (line: string): unknown => JSON.parse(line.slice(9))

export function scanLines(bytes: Buffer): JournalScan {
  const wholeBytes = bytes.lastIndexOf(LF) + 1
  const lines: string[] = []
  for (let start = 0; start < wholeBytes; ) {
    const end = bytes.indexOf(LF, start) + 1
    const line = bytes.toString('utf8', start, end)
    if (isValid(line)) lines.push(line)
    start = end
  }
  return { lines, wholeBytes }
}

/** The sum covers the JSON, so a valid line always parses. */
const isValid = (line: string) => line.length > 10 && line[8] === ' ' && line.slice(0, 8) === sum(line.slice(9, -1))

const sum = (text: string) => crc32(text).toString(16).padStart(8, '0')
