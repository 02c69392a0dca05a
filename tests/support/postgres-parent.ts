// A process that owns an embedded PostgreSQL and writes to it until it is killed. Prints one JSON value per line: first
// {pid, adopted} or {error}, then each number whose insert was acknowledged. Usage: node postgres-parent.ts DATA_DIR [idle]
import pg from 'pg'
import { silentLogger } from '../../src/base/log.ts'
import { systemClock } from '../../src/base/system.ts'
import { startPostgres } from '../../src/control/postgres/launch.ts'

const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)
const started = await startPostgres({ dataDir: process.argv[2] ?? '', clock: systemClock, log: silentLogger })
if (started.ok) {
  const client = new pg.Client({ ...started.value.target, port: 5432 })
  await client.connect()
  await client.query('create table if not exists kept (n bigint primary key)')
  say({ pid: started.value.pid(), adopted: started.value.adopted })
  for (let n = 0; process.argv[3] !== 'idle'; n += 1) {
    await client.query('insert into kept values ($1) on conflict do nothing', [n])
    say(n)
  }
} else say({ error: started.error })
