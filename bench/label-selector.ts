// How long does a label selector take over 100,000 instances, for a page of 50? Selectors that match 1 %, more, less, and nothing.
// Usage: node bench/label-selector.ts [url]; without a URL on a private embedded PostgreSQL.
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { sql } from 'kysely'
import { silentLogger } from '../src/base/log.ts'
import { systemClock, systemRandom } from '../src/base/system.ts'
import { parseSelector } from '../src/contracts/selector.ts'
import { startPostgres } from '../src/control/postgres/launch.ts'
import { listInstances } from '../src/control/store/instances.ts'
import { openStore } from '../src/control/store/store.ts'
import { seedInstance, seedOrg } from '../tests/support/store-seeds.ts'
import { must } from '../tests/support/stores.ts'
import { publish } from './support/machine.ts'
import { summarise } from './support/stats.ts'

const ROWS = 100_000
const BATCH = 2000
const RUNS = 200

// percent=p… is on 1 %, app=a… on 25 %, rare on 0.1 %, even on half of them.
const SELECTORS = [
  'percent=p7',
  'percent=p7,app=a3',
  'percent in (p7,p8)',
  'rare',
  'rare,app=a1',
  'app=a1',
  'even',
  'app!=a1',
  'percent!=p7',
  '!rare',
  '!percent',
  'percent=nowhere',
  '',
]

const dir = await mkdtemp(path.join(os.tmpdir(), 'hf-bench-'))
const url = process.argv[2]
const postgres = url === undefined ? must(await startPostgres({ dataDir: dir, clock: systemClock, log: silentLogger })) : null
const target = postgres?.target ?? { url: url ?? '' }
const store = must(await openStore({ target, clock: systemClock, random: systemRandom, log: silentLogger }))
try {
  const org = await seedOrg(store, `bench-${systemRandom.text(6)}`)
  const model = await seedInstance(store, org)
  // Copies of one real row.
  for (let first = 1; first <= ROWS; first += BATCH)
    await sql`
    insert into instances select (jsonb_populate_record(i, jsonb_build_object(
      'id', 'inst_' || lpad(to_hex(n), 9, '0') || substr(md5(n::text), 1, 11), 'name', 'i-' || n,
      'labels', jsonb_build_object('percent', 'p' || n % 100, 'app', 'a' || n % 4, 'n', n::text)
        || case when n % 1000 = 1 then '{"rare": ""}'::jsonb else '{}'::jsonb end
        || case when n % 2 = 0 then '{"even": "yes"}'::jsonb else '{}'::jsonb end))).*
    from instances i, generate_series(${sql.lit(first)}::int, ${sql.lit(first + BATCH - 1)}::int) n where i.id = ${model.id}
  `.execute(store.db)
  await sql`analyze instances`.execute(store.db)
  const rows = []
  for (const text of SELECTORS) {
    const selector = must(parseSelector(text))
    const times: number[] = []
    let found = 0
    for (let run = 0; run < RUNS; run += 1) {
      const startMs = performance.now()
      found = must(await listInstances(store.db, { scope: org, selector, limit: 50 })).items.length
      times.push(performance.now() - startMs)
    }
    const { p50, p99 } = summarise(times)
    rows.push({ selector: text, found, p50_ms: p50, p99_ms: p99 })
  }
  publish(`A page of 50 by label selector over ${ROWS} instances`, rows)
} finally {
  await store.close()
  await postgres?.stop()
  await rm(dir, { recursive: true, force: true })
}
