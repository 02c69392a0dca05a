// "Look again" between replicas, over one connection that listens for as long as the store is open.
//
// Level-triggered: a notification names what changed and carries no data. After every (re)connection listeners get null, "look at
// everything", because whatever was sent while nobody listened is lost. The same connection holds the advisory lock of this
// replica's number: others take this replica, and the agent sessions it holds, for alive as long as it stands.
import type pg from 'pg'
import { z } from 'zod'
import { type Backoff, backoffMs } from '../../base/backoff.ts'
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { ChangeKey } from '../model/event.ts'
import { codeOf } from './attempt.ts'
import { connectDedicated, type Dedicated } from './dedicated.ts'
import { CHANNEL, LOCKS } from './transaction.ts'

const Payload = z.object({ kind: z.enum(['instance', 'node', 'env', 'event', 'heal']), id: z.string() })
const ASK_INTERVAL_MS = 1000
const RECONNECT: Backoff = { baseMs: 100, factor: 2, maxMs: 5000 }

export type Listener = (change: ChangeKey | null) => void

export interface Notifications {
  listen(onChange: Listener): () => void
  close(): Promise<void>
}

export interface NotificationDeps {
  readonly config: pg.ClientConfig
  readonly replica: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Resolves when it listens, or when the first try to connect has failed; it goes on trying by itself. */
export async function openNotifications(deps: NotificationDeps): Promise<Notifications> {
  const listeners = new Set<Listener>()
  const closing = new AbortController()
  const tell = (change: ChangeKey | null) => {
    for (const listener of listeners) {
      try {
        listener(change)
      } catch (error) {
        deps.log.error('change listener failed', { error: String(error) })
      }
    }
  }
  let tried = () => {}
  const firstTry = new Promise<void>((resolve) => {
    tried = resolve
  })

  const session = async (): Promise<void> => {
    const connection = await connectDedicated(deps.config, deps.clock)
    const over = AbortSignal.any([connection.lost, closing.signal])
    try {
      connection.client.on('notification', (message) => tell(parse(message.payload ?? '')))
      await connection.client.query(`listen ${CHANNEL}`)
      // Held already only by an earlier connection of ours that the server has not yet given up: we count as alive meanwhile.
      let held = await holdReplica(connection, deps.replica)
      tried()
      tell(null)
      while (!held) {
        await deps.clock.sleep(ASK_INTERVAL_MS, over)
        held = await holdReplica(connection, deps.replica)
      }
      await ended(over)
    } finally {
      await connection.end()
    }
  }
  const run = async (): Promise<void> => {
    let failures = 0
    while (!closing.signal.aborted) {
      const startMs = deps.clock.elapsedMs()
      await session().catch((error: unknown) => deps.log.debug('notifications interrupted', { error_code: codeOf(error) }))
      tried()
      failures = deps.clock.elapsedMs() - startMs > RECONNECT.maxMs ? 1 : failures + 1
      await deps.clock.sleep(backoffMs(RECONNECT, failures, deps.random.fraction()), closing.signal).catch(() => undefined)
    }
  }
  const running = run()
  await firstTry
  return {
    listen: (onChange) => {
      listeners.add(onChange)
      return () => void listeners.delete(onChange)
    },
    close: async () => {
      closing.abort()
      listeners.clear()
      await running
    },
  }
}

async function holdReplica(connection: Dedicated, replica: number): Promise<boolean> {
  const { rows } = await connection.client.query<{ held: boolean }>('select pg_try_advisory_lock($1::int, $2::int) as held', [
    LOCKS.replica,
    replica,
  ])
  return rows[0]?.held === true
}

/** null = everything: too many changes to name, or words of another version. */
function parse(text: string): ChangeKey | null {
  if (text === '') return null
  try {
    return Payload.parse(JSON.parse(text))
  } catch {
    return null
  }
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
