import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CloudConfig, parseUserData } from './user-data.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo'
const parse = (body: string): CloudConfig => {
  const result = parseUserData(`#cloud-config\n${body}`)
  if (!result.ok) throw new Error(result.error.detail)
  if (result.value.kind !== 'cloud-config') throw new Error('not a cloud-config')
  return result.value
}
const refusal = (text: string) => {
  const result = parseUserData(text)
  return result.ok ? 'accepted' : `${result.error.code} ${result.error.detail}`
}
const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString()

test('a full document becomes a typed plan', () => {
  const plan = parse(`
users:
  - default
  - app
  - name: dev
    uid: 1500
    homedir: /srv/dev
    shell: /bin/sh
    gecos: A person
    lock_passwd: true
    ssh_authorized_keys: [${KEY} dev]
ssh_authorized_keys:
  - ${KEY} me
write_files:
  - {path: /etc/a, content: hello, permissions: '0600', owner: 'app:app'}
runcmd:
  - echo hi; id
packages: [curl, [nginx, '1.2']]
package_update: yes
`)
  expect(plan.users).toEqual([
    { name: 'app', sshAuthorizedKeys: [], uid: null, homeDir: null, shell: null, create: false },
    { name: 'dev', sshAuthorizedKeys: [`${KEY} dev`], uid: 1500, homeDir: '/srv/dev', shell: '/bin/sh', create: true },
  ])
  expect(plan.sshAuthorizedKeys).toEqual([`${KEY} me`])
  expect(plan.writeFiles).toMatchObject([{ path: '/etc/a', mode: 0o600, owner: { user: 'app', group: 'app' }, append: false }])
  expect(text(plan.writeFiles[0]?.content)).toBe('hello')
  expect(plan.runcmd).toEqual([{ kind: 'shell', text: 'echo hi; id' }])
  expect(plan.packages).toEqual(['curl', 'nginx=1.2'])
  expect([plan.packageUpdate, plan.packageUpgrade, plan.unsupported]).toEqual([true, false, []])
})

test('C25: a list in runcmd keeps its words exactly as written, also those YAML would read as numbers or dates', () => {
  const plan = parse(`runcmd:\n- [sh, -c, "echo a; b"]\n- [x, 1.50, 0644, 2020-01-01, yes, '', "a b", '$(x)', 'null']\n`)
  expect(plan.runcmd).toEqual([
    { kind: 'argv', argv: ['sh', '-c', 'echo a; b'] },
    { kind: 'argv', argv: ['x', '1.50', '0644', '2020-01-01', 'yes', '', 'a b', '$(x)', 'null'] },
  ])
})

test('C25: as a property: any argv written as JSON strings comes back unchanged', () => {
  const word = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((given) => !given.includes('\0'))
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 8 }), (argv) => {
      fc.pre(argv[0] !== '')
      expect(parse(`runcmd:\n- ${JSON.stringify(argv)}\n`).runcmd).toEqual([{ kind: 'argv', argv }])
    }),
  )
})

test('each encoding of write_files gives the same bytes', () => {
  const zipped = gzipSync('hi\n').toString('base64')
  const plan = parse(`
write_files:
- {path: /a, content: "hi\\n"}
- {path: /b, content: aGkK, encoding: b64}
- {path: /c, content: aGkK, encoding: base64}
- {path: /d, content: ${zipped}, encoding: gz+b64}
- {path: /e, content: !!binary ${zipped}, encoding: gzip}
- path: /f
  content: |
    hi
- {path: /g, content: !!binary aGkK}
`)
  expect(plan.writeFiles.map((file) => text(file.content))).toEqual(Array(7).fill('hi\n'))
})

test('what is not carried out is listed, by the path of its key', () => {
  const plan = parse(`
hostname: web
bootcmd: [ls]
users:
- {name: dev, sudo: 'ALL=(ALL) NOPASSWD:ALL', lock_passwd: false}
write_files:
- {path: /a, source: {uri: x}}
packages: [{snap: [x]}]
`)
  expect(plan.unsupported.toSorted()).toEqual([
    'bootcmd',
    'hostname',
    'packages[0]',
    'users[0].lock_passwd',
    'users[0].sudo',
    'write_files[0].source',
  ])
})

test('the default user is root: keys of default and root are keys of root', () => {
  const plan = parse(`users:\n- {name: default, ssh_authorized_keys: '${KEY} a'}\n- {name: root, ssh_authorized_keys: ['${KEY} b']}\n`)
  expect(plan.users).toEqual([])
  expect(plan.sshAuthorizedKeys).toEqual([`${KEY} a`, `${KEY} b`])
})

test('a script keeps its text; the first line is read as the kernel reads it', () => {
  expect(parseUserData('#!/usr/bin/env -S sh -e\necho $1\n')).toEqual({
    ok: true,
    value: { kind: 'script', interpreter: ['/usr/bin/env', '-S sh -e'], text: '#!/usr/bin/env -S sh -e\necho $1\n' },
  })
  expect(parseUserData('#! /bin/sh\r\ntrue')).toMatchObject({ value: { interpreter: ['/bin/sh'] } })
})

test('nothing to do is not an error: empty text, an empty document, empty keys', () => {
  for (const empty of ['', ' \n', '#cloud-config', '#cloud-config\n# nothing\n', '\uFEFF#cloud-config\nruncmd:\nusers: ~\n'])
    expect(parseUserData(empty)).toMatchObject({ ok: true, value: { kind: 'cloud-config', runcmd: [], users: [] } })
})

test.each([
  ['another format', 'Content-Type: multipart/mixed\n', 'line 1: the first line must be'],
  ['not YAML', '#cloud-config\na: [\n', 'line'],
  ['not a map', '#cloud-config\n- a\n', 'line 2: must be a map'],
  ['a NUL byte', '#cloud-config\n\na: "\0"', 'line 3: holds a NUL byte'],
  ['a key given twice', '#cloud-config\nruncmd: []\nruncmd: []\n', 'line 3: "runcmd" is given twice'],
  ['a custom tag', '#cloud-config\na: !!python/object:os.system x\n', 'line 2'],
  ['a relative path', '#cloud-config\nwrite_files:\n- path: etc/a\n', 'line 3: write_files[0].path must be an absolute path'],
  ['a path that climbs', '#cloud-config\nwrite_files:\n- path: /etc/../../a\n', 'line 3: write_files[0].path'],
  [
    'decimal permissions',
    '#cloud-config\nwrite_files:\n- path: /a\n  permissions: 644\n',
    'line 4: write_files[0].permissions must be an octal number in quotes',
  ],
  [
    'not base64',
    '#cloud-config\nwrite_files:\n- path: /a\n  content: "***"\n  encoding: b64\n',
    'line 4: write_files[0].content is not base64',
  ],
  [
    'not gzip',
    '#cloud-config\nwrite_files:\n- path: /a\n  content: aGkK\n  encoding: gz+b64\n',
    'line 4: write_files[0].content is not gzip',
  ],
  ['a package that is an option', '#cloud-config\npackages:\n- --allow-untrusted\n', 'line 3: packages[0] is not a package name'],
  ['a user that is an option', '#cloud-config\nusers:\n- -x\n', 'line 3: users[0] must be a user name'],
  ['a bad key', '#cloud-config\nssh_authorized_keys:\n- ssh-rsa AAAA\n', 'line 3: ssh_authorized_keys[0]'],
  ['a number as a flag', '#cloud-config\npackage_update: 7\n', 'line 2: package_update must be true or false'],
  ['a map in runcmd', '#cloud-config\nruncmd:\n- {a: b}\n', 'line 3: runcmd[0] must be a list'],
  ['an empty command', '#cloud-config\nruncmd:\n- []\n', 'line 3: runcmd[0] names no command'],
  ['a relative interpreter', '#!sh\n', 'line 1: the #! line'],
])('refused, with its line: %s', (_, given, want) => {
  expect(refusal(given)).toContain('invalid_user_data user_data ')
  expect(refusal(given)).toContain(want)
})

test('C27, C74: 200 KiB is read; more than 256 KiB is refused and the limit named', () => {
  const big = `#cloud-config\nwrite_files:\n- path: /a\n  content: ${'x'.repeat(200 * 1024)}\n`
  expect(parseUserData(big).ok).toBe(true)
  expect(refusal(`#cloud-config\n#${'x'.repeat(300 * 1024)}`)).toContain('the limit is 262144')
})

test('a small document that grows without bound costs little: aliases, gzip, nesting, many keys', () => {
  const bomb = gzipSync(Buffer.alloc(64 * 2 ** 20)).toString('base64')
  const grow = [
    'a: &a [x,x,x,x,x,x,x,x,x,x]',
    ...[...'bcdefghi'].map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[index]}`).join(',')}]`),
  ]
  const hostile = [
    grow.join('\n'),
    `write_files:\n- {path: /a, encoding: gz+b64, content: ${bomb}}`,
    `a: ${'['.repeat(100_000)}`,
    `a: ${'['.repeat(1500)}${']'.repeat(1500)}`,
    `${'- '.repeat(100_000)}x`,
    Array.from({ length: 30_000 }, (_, index) => `k${index}:`).join('\n'),
    `a: &a x\nb:\n${'- *a\n'.repeat(40_000)}`,
  ]
  for (const body of hostile) expect(refusal(`#cloud-config\n${body}`)).toContain('invalid_user_data')
}, 20_000)

test('any text at all gives a value, never an exception', () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom(
      '- ',
      ': ',
      '\n',
      '  ',
      '&a ',
      '*a ',
      '!!binary ',
      '"',
      '[',
      '{',
      '|',
      'runcmd',
      'users',
      'write_files',
      'path',
      '? ',
      '<<: ',
    ),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      parseUserData(`#cloud-config\n${pieces.join('')}`)
    }),
    { numRuns: 500 },
  )
})
