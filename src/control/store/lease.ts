// Singletons: one holder among all replicas, by a session advisory lock on a connection of its own, with an epoch that rises with
// every holder. The lock ends with the connection, so a dead holder frees it at once; a holder that is cut off but lives on is
// fenced: it checks its epoch in the transaction in which it writes.
import type pg from 'pg'
import type { Clock } from '../../base/clock.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { attempt, ConnectionLost, expected } from './attempt.ts'
import type { Tx } from './db.ts'
import { connectDedicated, type Dedicated } from './dedicated.ts'
import { leaseLost } from './lease-lost.ts'
import { LOCKS } from './transaction.ts'

/** How often the lock is asked for, so how long a takeover takes at most. Asking can be cancelled, waiting in the server cannot. */
const ASK_INTERVAL_MS = 500

export interface Lease {
  readonly name: string
  readonly epoch: number
  /** Aborted when the lease is lost: the connection died, or the store closes. */
  readonly signal: AbortSignal
  release(): Promise<void>
}

export interface LeaseDeps {
  readonly config: pg.ClientConfig
  readonly clock: Clock
}

/** Waits until this process holds it. `store_unavailable` when the connection fails; `shutting_down` when `signal` aborts first. */
export async function acquireLease(deps: LeaseDeps, name: string, signal: AbortSignal): Promise<Result<Lease, Failure>> {
  const connection = await connectDedicated(deps.config, deps.clock).catch((error: unknown) => new ConnectionLost(error))
  if (connection instanceof ConnectionLost) return err(expected(connection))
  try {
    while (!(await tryLock(connection, name))) await deps.clock.sleep(ASK_INTERVAL_MS, AbortSignal.any([signal, connection.lost]))
    signal.throwIfAborted()
    return ok({ name, epoch: await nextEpoch(connection, name), signal: connection.lost, release: () => connection.end() })
  } catch (error) {
    await connection.end()
    if (signal.aborted) return err(failure('shutting_down', `No longer waiting for ${name}.`))
    return err(expected(new ConnectionLost(error)))
  }
}

async function tryLock(connection: Dedicated, name: string): Promise<boolean> {
  const { rows } = await connection.client.query<{ held: boolean }>('select pg_try_advisory_lock($1::int, hashtext($2)) as held', [
    LOCKS.singleton,
    name,
  ])
  return rows[0]?.held === true
}

async function nextEpoch(connection: Dedicated, name: string): Promise<number> {
  const { rows } = await connection.client.query<{ epoch: number }>(
    'insert into singletons (name, epoch) values ($1, 1) on conflict (name) do update set epoch = singletons.epoch + 1 returning epoch',
    [name],
  )
  return rows[0]?.epoch ?? 0
}

/** Inside a write of the holder: `lease_lost` when a newer holder exists; none can appear before this transaction ends. */
export async function checkLease(tx: Tx, lease: Pick<Lease, 'name' | 'epoch'>): Promise<Result<void, Failure>> {
  const row = await attempt(() =>
    tx.db.selectFrom('singletons').select('epoch').where('name', '=', lease.name).forShare().executeTakeFirst(),
  )
  if (!row.ok) return row
  if (row.value?.epoch === lease.epoch) return OK
  return err(leaseLost(lease))
}
