// Changes of the desired half, and of labels and metadata: always re-read under the row lock.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { InstanceSpec, RecoveryMode } from '../../contracts/spec.ts'
import type { EnvMembership, InstanceRecord, Want } from '../model/instance.ts'
import type { Tx } from './db.ts'

const later = (): never => {
  throw new Error('being written')
}

/** What a verb changes; every change raises the generation by one. */
export interface DesiredChange {
  /** Named in the event: `start`, `stop`, `recover`, `heal`, `deploy`, … */
  readonly verb: string
  readonly want?: Want
  /** Raise the counter the agent acts upon once. */
  readonly restart?: true
  readonly recover?: true
  readonly heal?: true
  readonly recoveryMode?: RecoveryMode | null
  readonly spec?: { readonly spec: InstanceSpec; readonly input: Readonly<Record<string, unknown>> }
  readonly membership?: EnvMembership
  /** Take it off its node, so that it is placed anew (phase becomes `pending`). */
  readonly unplace?: true
}

/**
 * Locks the row, lets `decide` look at it, and applies the change it returns. `decide` may refuse (the refusal is returned) or
 * return null: nothing to do, the row comes back unchanged. Wanting `deleted` for an unplaced instance deletes it at once.
 * A deleted instance is `not_found`; one wanted deleted refuses any other want with `wrong_state`.
 */
export function changeDesired(
  _tx: Tx,
  _id: InstanceId,
  _decide: (now: InstanceRecord) => Result<DesiredChange | null, Failure>,
): Promise<Result<InstanceRecord, Failure>> {
  return later()
}

export interface MetadataChange {
  readonly labels?: Readonly<Record<string, string | null>>
  readonly metadata?: Readonly<Record<string, string | null>>
  readonly mode: 'merge' | 'replace'
  /** From If-Match; null = unconditional. */
  readonly ifVersion: number | null
}

/** Fails with `version_conflict`, or `invalid_input` when the result would break a limit. Labels under holdfast.io/ are kept. */
export function putMetadata(_tx: Tx, _id: InstanceId, _change: MetadataChange): Promise<Result<InstanceRecord, Failure>> {
  return later()
}
