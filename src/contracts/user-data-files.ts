// `write_files` of a cloud-config: content decoded here, so that a wrong encoding is refused at launch and not inside the guest.
import { gunzipSync } from 'node:zlib'
import { type Reading, Wrong } from './user-data-reading.ts'
import type { Tree, TreeText } from './yaml-tree.ts'

export interface WriteFile {
  readonly path: string
  readonly content: Uint8Array
  /** Permission bits, such as 0o644. */
  readonly mode: number
  /** Names or numbers of the guest; resolved there. */
  readonly owner: { readonly user: string; readonly group: string | null }
  readonly append: boolean
}

const FILES_MAX = 1024
/** In all, after decompression: what compresses to 256 KiB may be a gigabyte. */
const CONTENT_BYTES_MAX = 8 * 2 ** 20
const MODE_DEFAULT = 0o644
const OWNER = /^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}))?$/

const ENCODINGS: Readonly<Record<string, { readonly base64: boolean; readonly gzip: boolean }>> = {
  'text/plain': { base64: false, gzip: false },
  b64: { base64: true, gzip: false },
  base64: { base64: true, gzip: false },
  gz: { base64: false, gzip: true },
  gzip: { base64: false, gzip: true },
  'gz+b64': { base64: true, gzip: true },
  'gz+base64': { base64: true, gzip: true },
  'gzip+b64': { base64: true, gzip: true },
  'gzip+base64': { base64: true, gzip: true },
}

export function readWriteFiles(read: Reading, tree: Tree | undefined): WriteFile[] {
  let room = CONTENT_BYTES_MAX
  return read.list(tree, 'write_files', FILES_MAX).map((item, index) => {
    const where = `write_files[${index}]`
    if (item.kind !== 'map') throw new Wrong(item.line, `${where} must be a map with a path`)
    // `defer` asks for a write after users exist; files are always written after them here, so only its order is not kept.
    read.known(item, where, ['path', 'content', 'encoding', 'permissions', 'owner', 'append', 'defer'])
    const path = item.entries.get('path')
    if (!path) throw new Wrong(item.line, `${where} has no path`)
    const content = decode(read, item.entries.get('content'), item.entries.get('encoding'), where, room)
    room -= content.length
    return {
      path: read.path(path, `${where}.path`),
      content,
      mode: readMode(item.entries.get('permissions'), `${where}.permissions`),
      owner: readOwner(read, item.entries.get('owner'), `${where}.owner`),
      append: read.flag(item.entries.get('append'), `${where}.append`),
    }
  })
}

function decode(read: Reading, content: Tree | undefined, encoding: Tree | undefined, where: string, room: number): Uint8Array {
  if (content === undefined) return new Uint8Array()
  if (content.kind !== 'text') throw new Wrong(content.line, `${where}.content must be text`)
  const word = read.optionalText(encoding, `${where}.encoding`) ?? 'text/plain'
  const how = Object.hasOwn(ENCODINGS, word) ? ENCODINGS[word] : undefined
  if (!how) throw new Wrong(encoding?.line ?? content.line, `${where}.encoding must be one of ${Object.keys(ENCODINGS).join(', ')}`)
  const raw = how.base64 && !content.bytes ? fromBase64(content, where) : Buffer.from(content.bytes ?? content.text)
  const bytes = how.gzip ? fromGzip(raw, content.line, where, room) : raw
  if (bytes.length > room) throw new Wrong(content.line, `${where}.content: more than ${CONTENT_BYTES_MAX} bytes in all files`)
  return bytes
}

function fromBase64(content: TreeText, where: string): Buffer {
  const text = content.text.replace(/[ \t\r\n]/g, '')
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new Wrong(content.line, `${where}.content is not base64`)
  return Buffer.from(text, 'base64')
}

function fromGzip(bytes: Buffer, line: number, where: string, room: number): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: Math.max(1, room + 1) })
  } catch (error) {
    if (error instanceof RangeError) throw new Wrong(line, `${where}.content: more than ${CONTENT_BYTES_MAX} bytes in all files`)
    throw new Wrong(line, `${where}.content is not gzip`)
  }
}

/** YAML 1.1 reads a bare 0644 as octal and a bare 644 as decimal; the second is nearly always a mistake, so it is refused. */
function readMode(tree: Tree | undefined, where: string): number {
  if (tree === undefined || (tree.kind === 'text' && tree.plain && tree.text === '')) return MODE_DEFAULT
  const match = tree.kind === 'text' ? /^(0o?)?([0-7]{3,4})$/.exec(tree.text) : null
  if (tree.kind !== 'text' || !match || (tree.plain && match[1] === undefined))
    throw new Wrong(tree.line, `${where} must be an octal number in quotes, such as '0644'`)
  return Number.parseInt(match[2] ?? '', 8)
}

function readOwner(read: Reading, tree: Tree | undefined, where: string): WriteFile['owner'] {
  const text = read.optionalText(tree, where) ?? 'root:root'
  const match = OWNER.exec(text)
  if (!match) throw new Wrong(tree?.line ?? 1, `${where} must be USER or USER:GROUP`)
  return { user: match[1] ?? 'root', group: match[2] ?? null }
}
