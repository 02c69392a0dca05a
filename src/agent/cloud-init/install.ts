// The part of cloud-init that needs no running guest: root's keys, users with theirs, files, in this order, so that keys are there
// before everything else and all of it before the workload's first instruction. Each step is reported; a failing one does not undo
// those before it and does not keep those after it from being tried.
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { CloudInitStep } from '../../contracts/phase.ts'
import type { CloudUser } from '../../contracts/user-data.ts'
import type { WriteFile } from '../../contracts/user-data-files.ts'
import {
  type Account,
  type Accounts,
  groupLine,
  newAccount,
  passwdLine,
  readAccounts,
  resolveOwner,
  shadowLine,
  withLine,
} from './accounts.ts'
import type { GuestFiles } from './guest.ts'
import type { CloudPlan } from './plan.ts'
import type { TarEntry, TarFile } from './tar.ts'

const APPEND_BYTES_MAX = 8 * 2 ** 20

export interface InstallDeps {
  readonly files: GuestFiles
  readonly nowMs: number
  readonly signal: AbortSignal
}

/** Never fails as a whole: an engine that does not answer is seen in each step, and the start that follows fails by itself. */
export async function installFiles(deps: InstallDeps, plan: CloudPlan): Promise<readonly CloudInitStep[]> {
  const steps: CloudInitStep[] = []
  const run = async (step: string, work: () => Promise<Result<void, Failure>>) => {
    const result = await work()
    steps.push({ step, ok: result.ok, exitCode: null, output: result.ok ? '' : result.error.detail })
  }
  let accounts = await accountsOf(deps)
  const { users, writeFiles, sshAuthorizedKeys } = plan.config
  const keysFor = async (name: string, own: readonly string[]) => {
    const account = accounts.users.get(name)
    const keys = unique([...plan.instanceKeys, ...own])
    // A user that could not be made has its own failed step already.
    if (account && keys.length > 0) await run(`ssh_authorized_keys ${name}`, () => installKeys(deps, account, keys))
  }
  await keysFor('root', sshAuthorizedKeys)
  for (const user of users) {
    if (!accounts.users.has(user.name)) {
      await run(`user ${user.name}`, () => (user.create ? addUser(deps, accounts, user) : Promise.resolve(noUser(user.name))))
      accounts = await accountsOf(deps)
    }
    await keysFor(user.name, user.sshAuthorizedKeys)
  }
  for (const file of writeFiles) await run(`write_files ${file.path}`, () => writeFile(deps, accounts, file))
  return steps
}

const noUser = (name: string): Result<void, Failure> =>
  err(failure('cloud_init_failed', `There is no user ${name} in the image; give it as a map (name: ${name}) to have it made.`))

const unique = (lines: readonly string[]): string[] => [...new Set(lines)]

async function accountsOf({ files, signal }: InstallDeps): Promise<Accounts> {
  const [passwd, group] = await Promise.all([files.read('/etc/passwd', signal), files.read('/etc/group', signal)])
  return readAccounts(textOf(passwd), textOf(group))
}

const textOf = (file: Result<TarFile | null, Failure>): string => (file.ok ? (file.value?.content.toString() ?? '') : '')

async function addUser(deps: InstallDeps, accounts: Accounts, user: CloudUser): Promise<Result<void, Failure>> {
  const { files, signal } = deps
  const account = newAccount(accounts, { ...user, shell: user.shell ?? '/bin/sh' })
  if (!account)
    return err(failure('cloud_init_failed', user.uid === null ? 'No user number is free.' : `The user number ${user.uid} is taken.`))
  const hasGroup = accounts.groups.has(user.name)
  const lines = [
    { path: '/etc/group', line: hasGroup ? null : groupLine(account), must: true },
    { path: '/etc/shadow', line: shadowLine(account), must: false },
    // Last: a reader that sees the user finds its group.
    { path: '/etc/passwd', line: passwdLine(account), must: true },
  ]
  for (const { path, line, must } of lines) {
    if (line === null) continue
    const old = await files.read(path, signal)
    if (!old.ok) return old
    if (old.value === null && !must) continue
    const text = withLine(old.value?.content.toString() ?? '', line)
    const put = await putFile(deps, path, Buffer.from(text), {
      mode: old.value?.mode ?? 0o644,
      uid: old.value?.uid ?? 0,
      gid: old.value?.gid ?? 0,
    })
    if (!put.ok) return put
  }
  const home = await files.stat(account.home, signal)
  if (!home.ok) return home
  return home.value ? OK : makeDirectory(deps, account.home, { mode: 0o755, uid: account.uid, gid: account.gid })
}

/** Adds to what the image has; a key that is there already is not added again. */
async function installKeys(deps: InstallDeps, account: Account, keys: readonly string[]): Promise<Result<void, Failure>> {
  const { files, signal, nowMs } = deps
  const owner = { uid: account.uid, gid: account.gid }
  const home = await files.stat(account.home, signal)
  if (!home.ok) return home
  if (home.value && home.value.kind !== 'directory')
    return err(failure('cloud_init_failed', `The home ${account.home} is not a directory.`))
  if (!home.value) {
    const made = await makeDirectory(deps, account.home, { mode: account.uid === 0 ? 0o700 : 0o755, ...owner })
    if (!made.ok) return made
  }
  const directory = home.value?.path ?? account.home
  const old = await files.read(join(directory, '.ssh/authorized_keys'), signal)
  if (!old.ok) return old
  const kept = (old.value?.content.toString() ?? '').split('\n').filter((line) => line.trim() !== '')
  const text = `${unique([...kept, ...keys]).join('\n')}\n`
  return files.unpack(
    directory,
    [
      { path: '.ssh', kind: 'directory', mode: 0o700, ...owner, mtimeMs: nowMs, content: new Uint8Array() },
      { path: '.ssh/authorized_keys', kind: 'file', mode: 0o600, ...owner, mtimeMs: nowMs, content: Buffer.from(text) },
    ],
    signal,
  )
}

async function writeFile(deps: InstallDeps, accounts: Accounts, file: WriteFile): Promise<Result<void, Failure>> {
  const owner = resolveOwner(accounts, file.owner)
  if (!owner)
    return err(
      failure('cloud_init_failed', `The image has no owner ${file.owner.user}${file.owner.group === null ? '' : `:${file.owner.group}`}.`),
    )
  const { files, signal } = deps
  const there = await files.stat(file.path, signal)
  if (!there.ok) return there
  if (there.value?.kind === 'directory') return err(failure('cloud_init_failed', `${file.path} is a directory.`))
  // Through a link to what it points at, as opening the file would.
  const path = there.value?.path ?? file.path
  if (!file.append || !there.value) return putFile(deps, path, file.content, { mode: file.mode, ...owner })
  const old = await files.read(path, signal)
  if (!old.ok) return old
  const size = (old.value?.content.length ?? 0) + file.content.length
  if (size > APPEND_BYTES_MAX)
    return err(failure('cloud_init_failed', `${file.path} would have ${size} bytes; the limit for append is ${APPEND_BYTES_MAX}.`))
  return putFile(deps, path, Buffer.concat([old.value?.content ?? new Uint8Array(), file.content]), { mode: file.mode, ...owner })
}

interface Rights {
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

const putFile = (deps: InstallDeps, path: string, content: Uint8Array, rights: Rights): Promise<Result<void, Failure>> =>
  put(deps, path, { kind: 'file', ...rights, mtimeMs: deps.nowMs, content })

const makeDirectory = (deps: InstallDeps, path: string, rights: Rights): Promise<Result<void, Failure>> =>
  put(deps, path, { kind: 'directory', ...rights, mtimeMs: deps.nowMs, content: new Uint8Array() })

/** Directories that are missing on the way are made, open for reading and root's; those that exist are left as they are. */
async function put(deps: InstallDeps, path: string, entry: Omit<TarEntry, 'path'>): Promise<Result<void, Failure>> {
  const { files, signal, nowMs } = deps
  const parents = await missingParents(deps, path)
  if (!parents.ok) return parents
  const { base, missing } = parents.value
  const relative = (absolute: string) => absolute.slice(base.length === 1 ? 1 : base.length + 1)
  const entries: TarEntry[] = missing.map((parent) => ({
    path: relative(parent),
    kind: 'directory',
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtimeMs: nowMs,
    content: new Uint8Array(),
  }))
  return files.unpack(base, [...entries, { path: relative(path), ...entry }], signal)
}

/** The nearest directory above that exists, and those between it and the path. */
async function missingParents(
  { files, signal }: InstallDeps,
  path: string,
): Promise<Result<{ base: string; missing: readonly string[] }, Failure>> {
  const missing: string[] = []
  for (let at = parentOf(path); ; at = parentOf(at)) {
    if (at === '/') return ok({ base: '/', missing })
    const there = await files.stat(at, signal)
    if (!there.ok) return there
    if (there.value && there.value.kind !== 'directory') return err(failure('cloud_init_failed', `${at} is not a directory.`))
    if (there.value) return ok({ base: at, missing })
    missing.unshift(at)
  }
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/'
const join = (directory: string, name: string): string => (directory === '/' ? `/${name}` : `${directory}/${name}`)
