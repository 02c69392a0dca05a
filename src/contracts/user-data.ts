// `user_data` of an instance, parsed once to a typed plan: the control plane refuses what is wrong at launch, the agent carries the
// plan out. Two forms: `#cloud-config` YAML and a `#!` script. Pure. What we do not carry out is listed in `unsupported`, never skipped
// silently. docs/models/cloud-init.md lists the keys and where a container differs from a machine with cloud-init inside.
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from './errors.ts'
import { USER_DATA_BYTES_MAX } from './spec.ts'
import { readWriteFiles, type WriteFile } from './user-data-files.ts'
import { Reading, Wrong } from './user-data-reading.ts'
import { parseYamlTree, type Tree, type TreeMap } from './yaml-tree.ts'

export interface CloudUser {
  readonly name: string
  /** Canonical lines for authorized_keys. */
  readonly sshAuthorizedKeys: readonly string[]
  /** Used only when the user has to be created. */
  readonly uid: number | null
  readonly homeDir: string | null
  readonly shell: string | null
  /** A `users` entry that is a map may be created; a bare name must exist. */
  readonly create: boolean
}

/** `shell` runs by `sh -c`; `argv` runs exactly as written, with no shell between. */
export type RunCommand = { readonly kind: 'shell'; readonly text: string } | { readonly kind: 'argv'; readonly argv: readonly string[] }

export interface CloudConfig {
  readonly kind: 'cloud-config'
  readonly users: readonly CloudUser[]
  /** For the default user, which in a container is root. */
  readonly sshAuthorizedKeys: readonly string[]
  readonly writeFiles: readonly WriteFile[]
  readonly runcmd: readonly RunCommand[]
  readonly packages: readonly string[]
  readonly packageUpdate: boolean
  readonly packageUpgrade: boolean
  /** Keys that nothing is done for, such as `hostname` or `users[0].sudo`. */
  readonly unsupported: readonly string[]
}

export interface UserScript {
  readonly kind: 'script'
  /** The words of the first line: interpreter and at most one argument, as the kernel reads it. */
  readonly interpreter: readonly string[]
  readonly text: string
}

export type UserData = CloudConfig | UserScript

const COMMANDS_MAX = 1024
const PACKAGES_MAX = 1024
const USERS_MAX = 64
const KEYS_MAX = 64
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/
/** Begins with a letter or digit, so a name can never be read as an option of the package tool. */
const PACKAGE = /^[A-Za-z0-9][A-Za-z0-9+._:~=@/-]{0,255}$/
/** What asks for nothing: the plan of no user data at all. */
export const EMPTY_CONFIG: CloudConfig = {
  kind: 'cloud-config',
  users: [],
  sshAuthorizedKeys: [],
  writeFiles: [],
  runcmd: [],
  packages: [],
  packageUpdate: false,
  packageUpgrade: false,
  unsupported: [],
}

const bad = (what: string, line: number | null): Result<never, Failure> =>
  err(
    failure('invalid_user_data', `user_data${line === null ? '' : ` line ${line}`}: ${what}.`, {
      field: 'user_data',
      ...(line !== null && { line }),
    }),
  )

export function parseUserData(text: string): Result<UserData, Failure> {
  const bytes = Buffer.byteLength(text)
  if (bytes > USER_DATA_BYTES_MAX) return bad(`${bytes} bytes; the limit is ${USER_DATA_BYTES_MAX}`, null)
  const nul = text.indexOf('\0')
  if (nul >= 0) return bad('holds a NUL byte', text.slice(0, nul).split('\n').length)
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text
  if (body.trim() === '') return ok(EMPTY_CONFIG)
  if (body.startsWith('#!')) return parseScript(body)
  if (/^#cloud-config[ \t]*\r?(\n|$)/.test(body)) return parseCloudConfig(body)
  return bad('the first line must be #cloud-config or begin with #!; other formats (multipart, #include, jinja, gzip) are not read', 1)
}

function parseScript(text: string): Result<UserData, Failure> {
  const first = text.slice(2, text.indexOf('\n') < 0 ? undefined : text.indexOf('\n')).trim()
  const [, program = '', argument = ''] = /^(\S+)[ \t]*(.*)$/.exec(first) ?? []
  if (!program.startsWith('/')) return bad('the #! line must name an absolute path', 1)
  return ok({ kind: 'script', interpreter: argument === '' ? [program] : [program, argument], text })
}

function parseCloudConfig(text: string): Result<UserData, Failure> {
  const parsed = parseYamlTree(text)
  if (!parsed.ok) return bad(parsed.error.what, parsed.error.line)
  const tree = parsed.value
  if (tree === null) return ok(EMPTY_CONFIG)
  if (tree.kind !== 'map') return bad('must be a map of keys such as write_files and runcmd', tree.line)
  try {
    return ok(readConfig(tree))
  } catch (error) {
    if (error instanceof Wrong) return bad(error.message, error.line)
    throw error
  }
}

function readConfig(map: TreeMap): CloudConfig {
  const read = new Reading()
  read.known(map, '', ['users', 'ssh_authorized_keys', 'write_files', 'runcmd', 'packages', 'package_update', 'package_upgrade'])
  const { users, defaultUserKeys } = readUsers(read, map)
  return {
    kind: 'cloud-config',
    users,
    sshAuthorizedKeys: [
      ...new Set([...read.keys(map.entries.get('ssh_authorized_keys'), 'ssh_authorized_keys', KEYS_MAX), ...defaultUserKeys]),
    ],
    writeFiles: readWriteFiles(read, map.entries.get('write_files')),
    runcmd: read.list(map.entries.get('runcmd'), 'runcmd', COMMANDS_MAX).map((item, index) => readCommand(read, item, `runcmd[${index}]`)),
    packages: readPackages(read, map.entries.get('packages')),
    packageUpdate: read.flag(map.entries.get('package_update'), 'package_update'),
    packageUpgrade: read.flag(map.entries.get('package_upgrade'), 'package_upgrade'),
    unsupported: read.unsupported(),
  }
}

/** `default` is root in a container; a map for root adds its keys to root's. */
function readUsers(read: Reading, map: TreeMap): { users: CloudUser[]; defaultUserKeys: string[] } {
  const users = new Map<string, CloudUser>()
  const defaultUserKeys: string[] = []
  for (const [index, item] of read.list(map.entries.get('users'), 'users', USERS_MAX).entries()) {
    const where = `users[${index}]`
    const user = readUser(read, item, where)
    if (user.name === 'default' || user.name === 'root') defaultUserKeys.push(...user.sshAuthorizedKeys)
    else if (users.has(user.name)) throw new Wrong(item.line, `${where}: ${user.name} is named twice`)
    else users.set(user.name, user)
  }
  return { users: [...users.values()], defaultUserKeys }
}

function readUser(read: Reading, item: Tree, where: string): CloudUser {
  if (item.kind === 'text')
    return { name: userName(read, item, where), sshAuthorizedKeys: [], uid: null, homeDir: null, shell: null, create: false }
  if (item.kind !== 'map') throw new Wrong(item.line, `${where} must be a name or a map`)
  // Accepted in silence: a comment, and what already holds for a user made here (no password, a home).
  read.known(item, where, ['name', 'ssh_authorized_keys', 'uid', 'homedir', 'shell', 'gecos'], {
    lock_passwd: true,
    create_home: true,
    no_create_home: false,
  })
  const name = item.entries.get('name')
  if (!name) throw new Wrong(item.line, `${where} has no name`)
  const uid = read.optionalText(item.entries.get('uid'), `${where}.uid`)
  if (uid !== null && !(/^[0-9]{1,10}$/.test(uid) && Number(uid) < 2 ** 32 - 1)) throw new Wrong(item.line, `${where}.uid must be a number`)
  return {
    name: userName(read, name, `${where}.name`),
    sshAuthorizedKeys: read.keys(item.entries.get('ssh_authorized_keys'), `${where}.ssh_authorized_keys`, KEYS_MAX),
    uid: uid === null ? null : Number(uid),
    homeDir: read.optionalPath(item.entries.get('homedir'), `${where}.homedir`),
    shell: read.optionalPath(item.entries.get('shell'), `${where}.shell`),
    create: true,
  }
}

function userName(read: Reading, item: Tree, where: string): string {
  const name = read.text(item, where)
  if (!USER_NAME.test(name))
    throw new Wrong(item.line, `${where} must be a user name: 1 to 32 of a-z 0-9 _ -, not beginning with a digit or -`)
  return name
}

function readCommand(read: Reading, item: Tree, where: string): RunCommand {
  if (item.kind === 'text') return { kind: 'shell', text: read.text(item, where) }
  const argv = read.list(item, where, COMMANDS_MAX).map((word, index) => read.text(word, `${where}[${index}]`))
  if (!argv[0]) throw new Wrong(item.line, `${where} names no command`)
  return { kind: 'argv', argv }
}

/** `name`, or `[name, version]`, which every tool writes as `name=version` (dnf: `name-version`; docs say to write that as one word). */
function readPackages(read: Reading, tree: Tree | undefined): string[] {
  return read.list(tree, 'packages', PACKAGES_MAX).flatMap((item, index) => {
    const where = `packages[${index}]`
    if (item.kind === 'map') {
      read.note(where)
      return []
    }
    const words = item.kind === 'list' ? item.items.map((word) => read.text(word, where)) : [read.text(item, where)]
    const name = words.join('=')
    if (words.length > 2 || !PACKAGE.test(name)) throw new Wrong(item.line, `${where} is not a package name`)
    return [name]
  })
}
