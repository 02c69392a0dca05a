// Users and groups of a guest, from its own passwd and group files. Pure: text in, text out, so that a user can be made in an image
// that has no program for it.
export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}

export interface Accounts {
  readonly users: ReadonlyMap<string, Account>
  readonly groups: ReadonlyMap<string, number>
}

const UID_MIN = 1000
const UID_MAX = 60_000
const ROOT: Account = { name: 'root', uid: 0, gid: 0, home: '/root' }

/** Both may be missing (an image of one program): root exists all the same. The first entry of a name counts, as in libc. */
export function readAccounts(passwd: string, group: string): Accounts {
  const users = new Map<string, Account>()
  for (const line of passwd.split('\n')) {
    const [name, , uid, gid, , home] = line.split(':')
    if (!name || !isNumber(uid) || !isNumber(gid) || users.has(name)) continue
    users.set(name, { name, uid: Number(uid), gid: Number(gid), home: home?.startsWith('/') ? home : '/' })
  }
  if (!users.has('root')) users.set('root', ROOT)
  const groups = new Map<string, number>()
  for (const line of group.split('\n')) {
    const [name, , gid] = line.split(':')
    if (name && isNumber(gid) && !groups.has(name)) groups.set(name, Number(gid))
  }
  if (!groups.has('root')) groups.set('root', 0)
  return { users, groups }
}

const isNumber = (text: string | undefined): text is string => text !== undefined && /^[0-9]{1,10}$/.test(text)

export interface NewAccount extends Account {
  readonly shell: string
}

/** A user with a group of its own, as every distribution's tool does it. Undefined when the wished uid is taken or none is free. */
export function newAccount(
  accounts: Accounts,
  wish: { readonly name: string; readonly uid: number | null; readonly homeDir: string | null; readonly shell: string },
): NewAccount | undefined {
  const uids = new Set([...accounts.users.values()].map((account) => account.uid))
  const gids = new Set(accounts.groups.values())
  const uid = wish.uid ?? firstFree(uids, gids)
  if (uid === undefined || uids.has(uid)) return undefined
  const gid = accounts.groups.get(wish.name) ?? (gids.has(uid) ? firstFree(gids, gids) : uid)
  return gid === undefined ? undefined : { name: wish.name, uid, gid, home: wish.homeDir ?? `/home/${wish.name}`, shell: wish.shell }
}

function firstFree(taken: ReadonlySet<number>, alsoTaken: ReadonlySet<number>): number | undefined {
  for (let id = UID_MIN; id <= UID_MAX; id += 1) if (!taken.has(id) && !alsoTaken.has(id)) return id
  return undefined
}

export const withLine = (text: string, line: string): string => `${text === '' || text.endsWith('\n') ? text : `${text}\n`}${line}\n`
export const passwdLine = (account: NewAccount): string =>
  `${account.name}:x:${account.uid}:${account.gid}::${account.home}:${account.shell}`
export const groupLine = (account: NewAccount): string => `${account.name}:x:${account.gid}:`
/** No password: only keys open it. */
export const shadowLine = (account: NewAccount): string => `${account.name}:!:19000:0:99999:7:::`

/** The numbers behind `owner: USER:GROUP`; undefined when a name is unknown. Without a group the file stays with root's. */
export function resolveOwner(
  accounts: Accounts,
  owner: { readonly user: string; readonly group: string | null },
): { uid: number; gid: number } | undefined {
  const uid = isNumber(owner.user) ? Number(owner.user) : accounts.users.get(owner.user)?.uid
  const gid = owner.group === null ? 0 : isNumber(owner.group) ? Number(owner.group) : accounts.groups.get(owner.group)
  return uid === undefined || gid === undefined ? undefined : { uid, gid }
}
