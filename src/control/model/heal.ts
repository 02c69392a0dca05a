import type { InstanceId, OrgId } from '../../contracts/ids.ts'

/** One row of the healer's work: at most one per instance. */
export interface HealRecord {
  readonly instanceId: InstanceId
  readonly orgId: OrgId
  /** The desired generation this work is about: the healer's own last one, or the one it saw. A newer one by somebody else ends the work. */
  readonly generation: number
  /** Kept, and never tried again for this generation: attempts exhausted, or nothing the healer may mend. */
  readonly givenUp: boolean
  /** Not before this time. */
  readonly dueAtMs: number
  /** Attempts already made in this episode. */
  readonly attempts: number
  readonly reason: string
  readonly lastError: string | null
  readonly createdAtMs: number
}

/** A claimed row: only the holder of this lease may finish or postpone it. */
export interface ClaimedHeal extends HealRecord {
  readonly lease: string
}
