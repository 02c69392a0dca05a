// `USER` or `USER:GROUP`, names or numbers, to what the kernel wants. The files of the machine are read anew each time: they are small
// and a user added a moment ago must be found.
import { readFileSync } from 'node:fs'
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'

export interface Identity {
  readonly uid: number
  readonly gid: number
  /** All groups, the main one among them. */
  readonly groups: readonly number[]
}

export interface Accounts {
  readonly passwd: string
  readonly group: string
}

/** Throws a file error. */
const readAccounts = (): Accounts => ({ passwd: readFileSync('/etc/passwd', 'utf8'), group: readFileSync('/etc/group', 'utf8') })

/** Null = stay who we are. Only root may become somebody else. */
export function resolveUser(
  wanted: string | null,
  ownUid: number,
  accounts: () => Accounts = readAccounts,
): Result<Identity | null, Failure> {
  if (wanted === null) return ok(null)
  const { passwd, group } = accounts()
  const users = rows(passwd).map(([name, , uid, gid]) => ({ name: name ?? '', uid: Number(uid), gid: Number(gid) }))
  const groups = rows(group).map(([name, , gid, members]) => ({ name: name ?? '', gid: Number(gid), members: (members ?? '').split(',') }))
  const [userPart = '', groupPart] = wanted.split(':')
  const known = users.find((user) => user.name === userPart) ?? users.find((user) => String(user.uid) === userPart)
  const uid = known?.uid ?? (/^[0-9]{1,9}$/.test(userPart) ? Number(userPart) : undefined)
  if (uid === undefined)
    return err(failure('invalid_command', `There is no user ${JSON.stringify(userPart)} on this node.`, { user: userPart }))
  const asked =
    groupPart === undefined
      ? undefined
      : (groups.find((one) => one.name === groupPart)?.gid ?? (/^[0-9]{1,9}$/.test(groupPart) ? Number(groupPart) : null))
  if (asked === null)
    return err(failure('invalid_command', `There is no group ${JSON.stringify(groupPart)} on this node.`, { group: groupPart ?? '' }))
  const gid = asked ?? known?.gid ?? uid
  if (ownUid !== 0) {
    if (uid === ownUid && asked === undefined) return ok(null)
    return err(
      failure(
        'invalid_command',
        `The agent runs as user ${ownUid} and cannot run a process as ${JSON.stringify(wanted)}; only an agent of root can.`,
        { user: wanted },
      ),
    )
  }
  const member = known ? groups.filter((one) => one.members.includes(known.name)).map((one) => one.gid) : []
  return ok({ uid, gid, groups: [...new Set([gid, ...member])] })
}

const rows = (text: string): readonly (readonly string[])[] =>
  text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'))
