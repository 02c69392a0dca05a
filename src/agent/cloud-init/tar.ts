// A small tar writer and reader, for moving files into a guest without needing any program inside it. POSIX ustar; what does not fit
// its fixed fields (long or non-ASCII names, large ids) goes into a pax record before the entry.
export interface TarEntry {
  /** Relative, without a leading slash. */
  readonly path: string
  readonly kind: 'file' | 'directory'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeMs: number
  /** Empty for a directory. */
  readonly content: Uint8Array
}

const BLOCK = 512
const NAME_BYTES_MAX = 100
const ID_MAX = 0o7777777

export function writeTar(entries: readonly TarEntry[]): Buffer {
  const parts: Uint8Array[] = []
  for (const entry of entries) {
    const path = entry.kind === 'directory' ? `${entry.path}/` : entry.path
    const records = paxRecords(path, entry)
    if (records.length > 0)
      parts.push(header({ name: 'pax', mode: 0o644, uid: 0, gid: 0, size: records.length, mtimeMs: 0, type: 'x' }), padded(records))
    const fits = records.length === 0
    parts.push(
      header({
        name: fits ? path : 'entry',
        mode: entry.mode,
        uid: Math.min(entry.uid, ID_MAX),
        gid: Math.min(entry.gid, ID_MAX),
        size: entry.content.length,
        mtimeMs: entry.mtimeMs,
        type: entry.kind === 'directory' ? '5' : '0',
      }),
      padded(entry.content),
    )
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)])
}

function paxRecords(path: string, entry: TarEntry): Buffer {
  const plain = Buffer.byteLength(path) <= NAME_BYTES_MAX && /^[\x20-\x7e]*$/.test(path)
  const large = entry.uid > ID_MAX || entry.gid > ID_MAX
  if (plain && !large) return Buffer.alloc(0)
  const fields: [string, string][] = [
    ['path', path],
    ...(large ? [['uid', String(entry.uid)] as [string, string], ['gid', String(entry.gid)] as [string, string]] : []),
  ]
  return Buffer.concat(fields.map(([key, value]) => paxRecord(key, value)))
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record, its own digits included. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`)
  let length = rest + String(rest).length
  if (String(length).length > String(rest).length) length = rest + String(length).length
  return Buffer.from(`${length} ${key}=${value}\n`)
}

interface Header {
  readonly name: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly mtimeMs: number
  readonly type: '0' | '5' | 'x'
}

function header(fields: Header): Buffer {
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, width: number) => block.write(value.toString(8).padStart(width - 1, '0'), at, 'latin1')
  block.write(fields.name, 0, NAME_BYTES_MAX, 'latin1')
  octal(fields.mode & 0o7777, 100, 8)
  octal(fields.uid, 108, 8)
  octal(fields.gid, 116, 8)
  octal(fields.size, 124, 12)
  octal(Math.max(0, Math.floor(fields.mtimeMs / 1000)), 136, 12)
  block.write('        ', 148, 'latin1')
  block.write(fields.type, 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function padded(bytes: Uint8Array): Buffer {
  const rest = bytes.length % BLOCK
  return rest === 0 ? Buffer.from(bytes) : Buffer.concat([bytes, Buffer.alloc(BLOCK - rest)])
}

export interface TarFile {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly content: Buffer
}

/** The first regular file of an archive; undefined when there is none or the archive is cut off. */
export function readFirstFile(archive: Buffer): TarFile | undefined {
  let at = 0
  while (at + BLOCK <= archive.length) {
    const block = archive.subarray(at, at + BLOCK)
    if (block.every((byte) => byte === 0)) return undefined
    const size = numberAt(block, 124, 12)
    const type = String.fromCharCode(block[156] ?? 0)
    const from = at + BLOCK
    if (size === undefined || from + size > archive.length) return undefined
    if (type === '0' || type === '\0')
      return {
        mode: numberAt(block, 100, 8) ?? 0o644,
        uid: numberAt(block, 108, 8) ?? 0,
        gid: numberAt(block, 116, 8) ?? 0,
        content: archive.subarray(from, from + size),
      }
    at = from + Math.ceil(size / BLOCK) * BLOCK
  }
  return undefined
}

/** Octal text, or base 256 where the first bit is set (large ids of some writers). */
function numberAt(block: Buffer, at: number, width: number): number | undefined {
  if (((block[at] ?? 0) & 0x80) !== 0) return block.subarray(at + width - 6, at + width).readUIntBE(0, 6)
  const text = block
    .subarray(at, at + width)
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim()
  if (text === '') return 0
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined
}
