// SSH public keys, as in a .pub file: read strictly, written back in one canonical form. What comes out is safe to put into an
// authorized_keys file: exactly one line, no options, a known key type whose blob says the same, and a comment of harmless characters.
// The given text never appears in a failure, because people paste private keys by mistake.
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from './errors.ts'

export interface SshPublicKey {
  readonly type: string
  readonly base64: string
  readonly comment: string
  /** `type base64 comment`: the only text that may reach an authorized_keys file. */
  readonly line: string
}

const COMMENT_LENGTH_MAX = 128
const KEY_LENGTH_MAX = 16_384

/** Fields of the blob after its type: `null` = any content, a number = that many bytes, text = exactly that text. */
const SHAPES: Readonly<Record<string, readonly (number | string | null)[]>> = {
  'ssh-ed25519': [32],
  'ssh-rsa': [null, null],
  'ecdsa-sha2-nistp256': ['nistp256', 65],
  'ecdsa-sha2-nistp384': ['nistp384', 97],
  'ecdsa-sha2-nistp521': ['nistp521', 133],
  'sk-ssh-ed25519@openssh.com': [32, null],
  'sk-ecdsa-sha2-nistp256@openssh.com': ['nistp256', 65, null],
}
/** OpenSSH refuses shorter RSA keys itself; such a key would be installed and never work. */
const RSA_BITS_MIN = 1024

const bad = (what: string): Result<never, Failure> => err(failure('invalid_ssh_key', what))

export function parseSshPublicKey(text: string): Result<SshPublicKey, Failure> {
  if (text.length > KEY_LENGTH_MAX) return bad(`The key is longer than ${KEY_LENGTH_MAX} characters.`)
  const trimmed = text.trim()
  if (trimmed.startsWith('-----BEGIN'))
    return bad('This is not a public key: it begins like a PEM file. Send the content of the .pub file.')
  if (/[\r\n\0]/.test(trimmed)) return bad('A key must be a single line.')
  const [type = '', base64 = '', ...rest] = trimmed.split(/[ \t]+/)
  const shape = Object.hasOwn(SHAPES, type) ? SHAPES[type] : undefined
  if (!shape) return bad(`The key must begin with its type, one of ${Object.keys(SHAPES).join(', ')}; options are not allowed.`)
  const blob = Buffer.from(base64, 'base64')
  // Buffer skips what is not base64; comparing with the re-encoded bytes is what makes it strict.
  if (base64 === '' || blob.toString('base64') !== base64) return bad('The second word of the key is not base64.')
  const fields = readStrings(blob)
  if (!fields || fields.length !== shape.length + 1) return bad('The base64 part is not a complete key.')
  if (fields[0]?.toString('latin1') !== type) return bad(`The base64 part is not a key of type ${type}.`)
  if (!shape.every((want, index) => fits(fields[index + 1], want))) return bad('The base64 part is not a complete key.')
  if (type === 'ssh-rsa' && rsaBits(fields[2]) < RSA_BITS_MIN) return bad(`The RSA key has fewer than ${RSA_BITS_MIN} bits.`)
  const comment = sanitise(rest.join(' '))
  return ok({ type, base64, comment, line: comment === '' ? `${type} ${base64}` : `${type} ${base64} ${comment}` })
}

/** Length-prefixed strings up to the very end; undefined when the lengths do not add up. */
function readStrings(blob: Buffer): Buffer[] | undefined {
  const fields: Buffer[] = []
  let at = 0
  while (at < blob.length) {
    if (at + 4 > blob.length) return undefined
    const end = at + 4 + blob.readUInt32BE(at)
    if (end > blob.length) return undefined
    fields.push(blob.subarray(at + 4, end))
    at = end
  }
  return fields
}

function fits(field: Buffer | undefined, want: number | string | null): boolean {
  if (!field || field.length === 0) return false
  if (want === null) return true
  if (typeof want === 'string') return field.toString('latin1') === want
  // Points of a curve are longer than 32 bytes here and are never compressed: 0x04, x, y.
  return field.length === want && (want === 32 || field[0] === 4)
}

/** Bits of an mpint: leading zero bytes do not count. */
function rsaBits(field: Buffer | undefined): number {
  const from = field?.findIndex((byte) => byte !== 0) ?? -1
  if (!field || from < 0) return 0
  return (field.length - from) * 8 - Math.clz32(field[from] ?? 0) + 24
}

function sanitise(comment: string): string {
  return comment
    .replace(/[^A-Za-z0-9._@:+=/ -]/g, '_')
    .slice(0, COMMENT_LENGTH_MAX)
    .trim()
}
