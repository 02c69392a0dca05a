import { expect, test } from 'vitest'
import { err, OK, ok } from '../../base/result.ts'
import { failure } from '../../contracts/errors.ts'
import { readAccounts } from './accounts.ts'
import type { GuestFiles } from './guest.ts'
import { installFiles } from './install.ts'
import { cloudPlan } from './plan.ts'

interface Node {
  readonly kind: 'file' | 'directory'
  readonly content: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
}
const KEY = (letter: string) =>
  `ssh-ed25519 ${Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, letter)]).toString('base64')}`
const A = KEY('a')
const B = KEY('b')
const PASSWD = 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n'
const GROUP = 'root:x:0:\napp:x:1000:\nweb:x:33:\n'

/** A guest's file system in memory, strict in what the engine is strict in: nothing is unpacked below what is not a directory. */
class Guest implements GuestFiles {
  readonly nodes = new Map<string, Node>()
  readonly order: string[] = []
  readOnly = false

  constructor(
    files: Record<string, string> = { '/etc/passwd': PASSWD, '/etc/group': GROUP },
    directories = ['/', '/etc', '/root', '/home', '/home/app'],
  ) {
    for (const path of directories) this.nodes.set(path, { kind: 'directory', content: '', mode: 0o755, uid: 0, gid: 0 })
    for (const [path, content] of Object.entries(files)) this.nodes.set(path, { kind: 'file', content, mode: 0o644, uid: 0, gid: 0 })
  }
  async stat(path: string) {
    const node = this.nodes.get(path)
    return ok(node ? { kind: node.kind, path, sizeBytes: node.content.length } : null)
  }
  async read(path: string) {
    const node = this.nodes.get(path)
    return ok(node?.kind === 'file' ? { ...node, content: Buffer.from(node.content) } : null)
  }
  async unpack(directory: string, entries: Parameters<GuestFiles['unpack']>[1]) {
    if (this.readOnly) return err(failure('cloud_init_failed', 'the root file system is read-only'))
    for (const entry of entries) {
      const path = `${directory === '/' ? '' : directory}/${entry.path}`
      const parent = path.slice(0, path.lastIndexOf('/')) || '/'
      if (this.nodes.get(parent)?.kind !== 'directory') return err(failure('cloud_init_failed', `no directory ${parent}`))
      this.order.push(path)
      this.nodes.set(path, {
        kind: entry.kind,
        content: Buffer.from(entry.content).toString(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
      })
    }
    return OK
  }
  is(path: string) {
    const node = this.nodes.get(path)
    return node && [node.content, node.mode.toString(8), node.uid, node.gid]
  }
}

async function install(guest: Guest, userData: string | null, keys: readonly string[] = []) {
  const plan = cloudPlan(userData === null ? null : `#cloud-config\n${userData}`, keys)
  if (!plan.ok) throw new Error(plan.error.detail)
  const steps = await installFiles({ files: guest, nowMs: 0, signal: new AbortController().signal }, plan.value)
  return Object.fromEntries(steps.map((step) => [step.step, step.ok ? 'ok' : step.output]))
}

test('C23: the key of the instance is in root`s authorized_keys: directory 0700, file 0600, owned by root', async () => {
  const guest = new Guest()
  expect(await install(guest, null, [A])).toEqual({ 'ssh_authorized_keys root': 'ok' })
  expect(guest.is('/root/.ssh')).toEqual(['', '700', 0, 0])
  expect(guest.is('/root/.ssh/authorized_keys')).toEqual([`${A}\n`, '600', 0, 0])
})

test('each named user gets the instance`s keys and its own, owned by it; keys of cloud-config are root`s', async () => {
  const guest = new Guest()
  await install(guest, `users:\n- name: app\n  ssh_authorized_keys: ['${B}']\nssh_authorized_keys: ['${B} r']\n`, [A])
  expect(guest.is('/home/app/.ssh')).toEqual(['', '700', 1000, 1000])
  expect(guest.is('/home/app/.ssh/authorized_keys')).toEqual([`${A}\n${B}\n`, '600', 1000, 1000])
  expect(guest.is('/root/.ssh/authorized_keys')?.[0]).toBe(`${A}\n${B} r\n`)
})

test('keys the image has are kept, and the same key is not added again', async () => {
  const guest = new Guest({ '/etc/passwd': PASSWD, '/etc/group': GROUP, '/root/.ssh/authorized_keys': `${B} image\n${A}` }, [
    '/',
    '/etc',
    '/root',
    '/root/.ssh',
  ])
  await install(guest, null, [A])
  expect(guest.is('/root/.ssh/authorized_keys')?.[0]).toBe(`${B} image\n${A}\n`)
})

test('keys come before everything else, files after them', async () => {
  const guest = new Guest()
  await install(guest, 'write_files: [{path: /etc/x, content: y}]', [A])
  expect(guest.order.indexOf('/root/.ssh/authorized_keys')).toBeLessThan(guest.order.indexOf('/etc/x'))
})

test('a user that the image lacks is made, without any program of the image: passwd, group, shadow, home', async () => {
  const guest = new Guest({ '/etc/passwd': PASSWD.trimEnd(), '/etc/group': GROUP, '/etc/shadow': 'root:*:::::::\n' })
  expect(await install(guest, `users:\n- {name: dev, shell: /bin/ash}\n- {name: ops, uid: 2000, homedir: /srv/ops}\n`, [A])).toMatchObject({
    'user dev': 'ok',
    'user ops': 'ok',
  })
  const accounts = readAccounts(String(guest.is('/etc/passwd')?.[0]), String(guest.is('/etc/group')?.[0]))
  expect(accounts.users.get('dev')).toEqual({ name: 'dev', uid: 1001, gid: 1001, home: '/home/dev' })
  expect(accounts.users.get('ops')).toEqual({ name: 'ops', uid: 2000, gid: 2000, home: '/srv/ops' })
  expect(guest.is('/etc/shadow')?.[0]).toContain('dev:!:')
  expect(guest.is('/home/dev')).toEqual(['', '755', 1001, 1001])
  expect(guest.is('/srv/ops/.ssh/authorized_keys')).toEqual([`${A}\n`, '600', 2000, 2000])
})

test('a bare name is not made up: the step says how to have it made, and the others go on', async () => {
  const guest = new Guest()
  const steps = await install(guest, 'users: [ghost]\nwrite_files: [{path: /etc/x}]', [A])
  expect(steps).toMatchObject({ 'ssh_authorized_keys root': 'ok', 'write_files /etc/x': 'ok' })
  expect(steps['user ghost']).toContain('no user ghost')
})

test('an image with one program and no users takes keys and files all the same', async () => {
  const guest = new Guest({}, ['/'])
  expect(await install(guest, 'write_files: [{path: /a/b/c, content: x}]', [A])).toEqual({
    'ssh_authorized_keys root': 'ok',
    'write_files /a/b/c': 'ok',
  })
  expect([guest.is('/root')?.[1], guest.is('/a/b')?.[1], guest.is('/a/b/c')?.[0]]).toEqual(['700', '755', 'x'])
})

test('files: permissions, owner by name and number, append, missing directories; existing directories keep their rights', async () => {
  const guest = new Guest({ '/etc/passwd': PASSWD, '/etc/group': GROUP, '/etc/log': 'one\n' })
  await install(
    guest,
    `
write_files:
- {path: /etc/a, content: x, permissions: '0640', owner: 'app:web'}
- {path: /etc/b, owner: '7:8'}
- {path: /etc/c, owner: app}
- {path: /etc/log, content: "two\\n", append: true}
- {path: /home/app/new/dir/f, content: z, owner: 'app:app'}
`,
  )
  expect(guest.is('/etc/a')).toEqual(['x', '640', 1000, 33])
  expect(guest.is('/etc/b')?.slice(2)).toEqual([7, 8])
  expect(guest.is('/etc/c')?.slice(2)).toEqual([1000, 0])
  expect(guest.is('/etc/log')?.[0]).toBe('one\ntwo\n')
  expect(guest.is('/home/app/new/dir/f')).toEqual(['z', '644', 1000, 1000])
  expect(guest.order).not.toContain('/home/app')
})

test('a failing step is told and undoes nothing', async () => {
  const guest = new Guest()
  const steps = await install(
    guest,
    `write_files:\n- {path: /etc}\n- {path: /etc/passwd/x}\n- {path: /etc/n, owner: nobody-here}\n- {path: /etc/ok}\n`,
    [A],
  )
  expect(steps).toMatchObject({ 'ssh_authorized_keys root': 'ok', 'write_files /etc/ok': 'ok' })
  expect([steps['write_files /etc'], steps['write_files /etc/passwd/x'], steps['write_files /etc/n']].every((said) => said !== 'ok')).toBe(
    true,
  )
})

test('a read-only root is told at every step and is no exception', async () => {
  const guest = new Guest()
  guest.readOnly = true
  expect(await install(guest, 'write_files: [{path: /etc/x}]', [A])).toEqual({
    'ssh_authorized_keys root': 'the root file system is read-only',
    'write_files /etc/x': 'the root file system is read-only',
  })
})

test('C26: keys go through the strict parser here too', () => {
  const plan = cloudPlan(null, [`${A} it's\nssh-rsa AAAA`])
  expect(!plan.ok && plan.error.code).toBe('invalid_ssh_key')
})
