import { durationText } from '../../base/duration-text.ts'
import { err, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { ApiDeps } from './deps.ts'

/**
 * The result of work that asks the store, or `store_unavailable` when it takes too long: a database that hangs must not hang every
 * caller. What was begun goes on; for a change its Idempotency-Key tells later how it ended.
 */
export async function withinStoreTime<T>(
  deps: Pick<ApiDeps, 'clock' | 'limits' | 'log'>,
  work: Promise<Result<T, Failure>>,
  changing: boolean,
  limitMs: number = deps.limits.storeAnswerMs,
): Promise<Result<T, Failure>> {
  let cancel = () => {}
  let late = false
  const timeout = new Promise<Result<T, Failure>>((resolve) => {
    cancel = deps.clock.after(limitMs, () => {
      late = true
      const said = `The database did not answer within ${durationText(limitMs)}.`
      resolve(
        err(
          changing
            ? failure(
                'store_unavailable',
                `${said} Whether the change was made is not known: repeat it with the same Idempotency-Key to learn that.`,
              )
            : failure('store_unavailable', said),
        ),
      )
    })
  })
  // Nobody listens any more to work that fails after its time; it must not end the process.
  work.catch((error: unknown) => {
    if (late) deps.log.error('request failed after its time', { error: error instanceof Error ? error.message : String(error) })
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    cancel()
  }
}
