// A connection of its own, outside of the pool: for what lives as long as its session, notifications and advisory locks.
import pg from 'pg'
import type { Clock } from '../../base/clock.ts'

const PING_INTERVAL_MS = 5000

export interface Dedicated {
  readonly client: pg.Client
  /** Aborted when the connection is gone, whoever ended it. */
  readonly lost: AbortSignal
  end(): Promise<void>
}

/** Throws when there is no connection to be had. Bounded by the connection timeout of `config`. */
export async function connectDedicated(config: pg.ClientConfig, clock: Clock): Promise<Dedicated> {
  const client = new pg.Client(config)
  const over = new AbortController()
  const lose = () => over.abort()
  // Both, because an end without an error is an end as well; an unheard error would end the process.
  client.on('error', lose)
  client.on('end', lose)
  try {
    await client.connect()
  } catch (error) {
    await client.end().catch(() => undefined)
    throw error
  }
  // A server that vanished without closing the connection is only noticed by asking it; the query timeout bounds the answer.
  let cancel = () => {}
  const ping = () => {
    client.query('select 1').then(schedule, () => {
      lose()
      void client.end().catch(() => undefined)
    })
  }
  const schedule = () => {
    if (!over.signal.aborted) cancel = clock.after(PING_INTERVAL_MS, ping)
  }
  schedule()
  return {
    client,
    lost: over.signal,
    end: async () => {
      cancel()
      over.abort()
      await client.end().catch(() => undefined)
    },
  }
}
