// An embedded PostgreSQL that outlived its control plane: for `holdfast down`, which leaves nothing behind. The caller holds the lock on the
// data directory, so no control plane runs that could own the server.
import type { Clock } from '../base/clock.ts'
import { ok, type Result } from '../base/result.ts'
import type { Failure } from '../contracts/errors.ts'
import { layoutOf } from './postgres/layout.ts'
import { adoptServer, stopServer } from './postgres/server.ts'

/** True when there was one. Bounded. */
export async function stopLeftoverDatabase(dataDir: string, clock: Clock): Promise<Result<boolean, Failure>> {
  const found = await adoptServer(layoutOf(dataDir).cluster, clock)
  if (!found.ok) return found
  if (found.value === null) return ok(false)
  const stopped = await stopServer(found.value.server, clock)
  return stopped.ok ? ok(true) : stopped
}
