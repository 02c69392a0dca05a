// From an instance's `user_data` and keys to what is done in its guest. Pure.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { parseSshPublicKey } from '../../contracts/ssh-key.ts'
import type { CloudConfig, UserScript } from '../../contracts/user-data.ts'
import { EMPTY_CONFIG, parseUserData } from '../../contracts/user-data.ts'

export interface CloudPlan {
  readonly config: CloudConfig
  readonly script: UserScript | null
  /** Keys of the instance itself: they open root and every named user. */
  readonly instanceKeys: readonly string[]
}

/** The control plane has refused what is wrong already; the same parser here means that the agent trusts nobody. */
export function cloudPlan(userData: string | null, sshAuthorizedKeys: readonly string[]): Result<CloudPlan, Failure> {
  const instanceKeys: string[] = []
  for (const text of sshAuthorizedKeys) {
    const key = parseSshPublicKey(text)
    if (!key.ok) return err(failure(key.error.code, key.error.detail, { field: 'ssh_authorized_keys' }))
    instanceKeys.push(key.value.line)
  }
  const parsed = parseUserData(userData ?? '')
  if (!parsed.ok) return parsed
  const data = parsed.value
  return ok(data.kind === 'script' ? { config: EMPTY_CONFIG, script: data, instanceKeys } : { config: data, script: null, instanceKeys })
}
