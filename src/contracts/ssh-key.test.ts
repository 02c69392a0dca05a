import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseSshPublicKey } from './ssh-key.ts'

const part = (bytes: Uint8Array | string) => {
  const body = Buffer.from(bytes)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([length, body])
}
const blob = (...parts: (Uint8Array | string)[]) => Buffer.concat(parts.map(part)).toString('base64')
const ed25519 = () =>
  blob('ssh-ed25519', Buffer.from(generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'))
const rsa = (bits: number) => {
  const jwk = generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({ format: 'jwk' })
  return blob('ssh-rsa', Buffer.from(jwk.e ?? '', 'base64url'), Buffer.concat([Buffer.alloc(1), Buffer.from(jwk.n ?? '', 'base64url')]))
}
const ED = ed25519()
const line = (text: string) => {
  const key = parseSshPublicKey(text)
  return key.ok ? key.value.line : key.error.code
}

test('real keys of each common type are kept as they are', () => {
  expect(line(`ssh-ed25519 ${ED} me@laptop`)).toBe(`ssh-ed25519 ${ED} me@laptop`)
  expect(line(`ssh-ed25519 ${ED}\n`)).toBe(`ssh-ed25519 ${ED}`)
  const long = rsa(1024)
  expect(line(`ssh-rsa ${long}`)).toBe(`ssh-rsa ${long}`)
  const point = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 7)])
  const ec = blob('ecdsa-sha2-nistp256', 'nistp256', point)
  expect(line(`ecdsa-sha2-nistp256 ${ec} x`)).toBe(`ecdsa-sha2-nistp256 ${ec} x`)
  const sk = blob('sk-ssh-ed25519@openssh.com', Buffer.alloc(32, 1), 'ssh:')
  expect(line(`sk-ssh-ed25519@openssh.com ${sk}`)).toBe(`sk-ssh-ed25519@openssh.com ${sk}`)
})

test.each([
  ['a second line smuggles a second key', `ssh-ed25519 ${ED} a\nssh-ed25519 ${ED} b`],
  ['a carriage return smuggles a line', `ssh-ed25519 ${ED} a\rcommand="x" ssh-ed25519 ${ED}`],
  ['options before the type', `command="/bin/sh" ssh-ed25519 ${ED}`],
  ['a blob of another type', `ssh-rsa ${ED}`],
  ['a truncated blob', `ssh-ed25519 ${Buffer.from(ED, 'base64').subarray(0, -1).toString('base64')}`],
  ['bytes after the key', `ssh-ed25519 ${Buffer.concat([Buffer.from(ED, 'base64'), Buffer.from('x')]).toString('base64')}`],
  ['letters that base64 decoders skip', `ssh-ed25519 ${ED.slice(0, 10)}!${ED.slice(10)}`],
  ['an unknown type', `ssh-dss ${ED}`],
  ['a name of the prototype', 'constructor AAAA'],
  ['nothing', ''],
  ['a type alone', 'ssh-ed25519'],
  ['a short RSA key', `ssh-rsa ${rsa(512)}`],
])('refused: %s', (_, text) => {
  expect(line(text)).toBe('invalid_ssh_key')
})

test('a private key pasted by mistake is refused and never repeated', () => {
  const text = '-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----'
  const key = parseSshPublicKey(text)
  expect(key.ok).toBe(false)
  expect(JSON.stringify(key)).not.toContain('c2VjcmV0')
})

test('C26: whatever the comment, the result is one line that a shell and sshd read as data, and parsing it again changes nothing', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (comment) => {
      const key = parseSshPublicKey(`ssh-ed25519 ${ED} ${comment}`)
      if (!key.ok) return /[\r\n\0]/.test(comment)
      expect(key.value.line).toMatch(/^ssh-ed25519 [A-Za-z0-9+/=]+( [A-Za-z0-9._@:+=/ -]+)?$/)
      const again = parseSshPublicKey(key.value.line)
      return again.ok && again.value.line === key.value.line
    }),
  )
  expect(line(`ssh-ed25519 ${ED} it's"me$(x)`)).toBe(`ssh-ed25519 ${ED} it_s_me__x_`)
})
