// Where the keys of mutations and their replies are kept. A live key makes the claim wait until its transaction has ended.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { attempt } from './attempt.ts'
import type { Tx } from './db.ts'
import type { Keys } from './mutation.ts'

/** `keysKeptMs`: how long a key is answered with what its first use was answered. */
export const keysOf = (keysKeptMs: number): Keys<Tx> => ({
  claim: (tx, { scope, key, requestHash }) =>
    attempt(async () => {
      const row = { scope, key, request_hash: requestHash, status: null, body: null, created_at_ms: tx.nowMs }
      const taken = await tx.db
        .insertInto('idempotency')
        .values(row)
        // A key past its retention is as good as none. A live one makes this a no-op, after its transaction has ended.
        .onConflict((conflict) =>
          conflict
            .columns(['scope', 'key'])
            .doUpdateSet(row)
            .where('idempotency.created_at_ms', '<', tx.nowMs - keysKeptMs),
        )
        .returning('key')
        .executeTakeFirst()
      if (taken) return null
      const found = await tx.db
        .selectFrom('idempotency')
        .select(['request_hash', 'status', 'body'])
        .where('scope', '=', scope)
        .where('key', '=', key)
        .executeTakeFirst()
      return found && { requestHash: found.request_hash, status: found.status, body: found.body }
    }),

  keep: (tx, { scope, key }, status, body): Promise<Result<void, Failure>> =>
    attempt(async () => {
      await tx.db
        .updateTable('idempotency')
        // A json column keeps the text itself, so that what is read is written down again byte for byte.
        .set({ status, body: JSON.stringify(body ?? null) })
        .where('scope', '=', scope)
        .where('key', '=', key)
        .execute()
    }),
})
