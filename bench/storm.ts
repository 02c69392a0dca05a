// Everything on a machine dies at once: how long until all is back, whether a small organisation waits behind a large one, and what
// people who ask the API meanwhile notice. Usage: node bench/storm.ts [instances=1000] [of them, of a small organisation=100]
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Result } from '../src/base/result.ts'
import { systemClock, systemRandom } from '../src/base/system.ts'
import { type Client, createClient } from '../src/client/client.ts'
import type { Failure } from '../src/contracts/errors.ts'
import { all, count, launch } from './support/instances.ts'
import { publish } from './support/machine.ts'
import { type Platform, startPlatform } from './support/platform.ts'
import { summarise } from './support/stats.ts'

const INSTANCES = Number(process.argv[2] ?? 1000)
const SMALL = Number(process.argv[3] ?? 100)
const IDLE_MS = 20_000
/** What ran less than ten seconds would be taken for a crash loop. */
const OLD_ENOUGH_MS = 15_000

interface Recovery {
  readonly id: string
  readonly attemptMs: number
  readonly doneMs: number
}

/** Asks one thing after the other, as a person's tools do, while `until` has not happened: milliseconds of each answer. */
async function askWhile(client: Client, until: () => boolean | Promise<boolean>): Promise<{ read: number[]; write: number[] }> {
  const took = { read: [] as number[], write: [] as number[] }
  for (let turn = 0; !(await until()); turn += 1) {
    const atMs = performance.now()
    if (turn % 4 === 3) {
      // No node carries the label: the write is durable and starts nothing.
      const body = { name: `asked-${Math.round(atMs)}-${turn}`, command: ['true'], memory: '4Mi', node_selector: { nowhere: 'x' } }
      await must(client.call('createInstance', { body }))
      took.write.push(performance.now() - atMs)
    } else {
      if (turn % 4 === 0) await must(client.call('listInstances', { query: { limit: 50 } }))
      else await must(client.call('getInstance', { params: { id: 'big-0' } }))
      took.read.push(performance.now() - atMs)
    }
    await sleep(10)
  }
  return took
}

async function must<T>(asked: Promise<Result<T, Failure>>): Promise<T> {
  const answer = await asked
  if (!answer.ok) throw new Error(answer.error.detail)
  return answer.value
}

/** From the platform's own lines after `fromByte`. */
async function recoveries(platform: Platform, fromByte: number): Promise<ReadonlyMap<string, Recovery>> {
  const lines = (await readFile(join(platform.dataDir, 'holdfast.log'))).subarray(fromByte).toString().split('\n')
  const found = new Map<string, Recovery>()
  for (const line of lines) {
    const attempt = line.includes('"msg":"attempting vm recovery"')
    if (!attempt && !line.includes('"msg":"vm recovery successful"')) continue
    const { time, instance_id: id } = JSON.parse(line) as { time: string; instance_id: string }
    const known = found.get(id) ?? { id, attemptMs: Number.NaN, doneMs: Number.NaN }
    found.set(id, { ...known, [attempt ? 'attemptMs' : 'doneMs']: Date.parse(time) })
  }
  return found
}

const platform = await startPlatform()
const rows: Record<string, unknown>[] = []
try {
  await must(platform.client.call('createOrg', { body: { name: 'small' } }))
  const token = await must(platform.client.call('createToken', { body: { name: 'small', role: 'operator', org: 'small' } }))
  const ofSmall = createClient({ url: platform.url, token: token.secret, clock: systemClock, random: systemRandom })
  const named = (name: string, length: number) => Array.from({ length }, (_, index) => `${name}-${index}`)
  await launch(platform, named('big', INSTANCES - SMALL), {})
  await launch({ ...platform, client: ofSmall }, named('small', SMALL), {})
  while ((await count(platform, 'running')) < INSTANCES) await sleep(100)
  await sleep(OLD_ENOUGH_MS)
  const endMs = performance.now() + IDLE_MS
  const idle = await askWhile(platform.client, () => performance.now() > endMs)

  const victims = (await all(platform, { state: 'running' })).filter((one) => one.pid !== null)
  const { length: fromByte } = await readFile(join(platform.dataDir, 'holdfast.log'))
  const killedMs = Date.now()
  for (const { pid } of victims) process.kill(pid ?? Number.NaN, 'SIGKILL')
  let lookedMs = 0
  let back = 0
  const storm = await askWhile(platform.client, async () => {
    if (performance.now() - lookedMs < 250) return back >= victims.length
    lookedMs = performance.now()
    back = [...(await recoveries(platform, fromByte)).values()].filter(({ doneMs }) => doneMs > 0).length
    return back >= victims.length
  })
  const found = await recoveries(platform, fromByte)
  const attempts = (small: boolean) =>
    victims.filter(({ name }) => name.startsWith('small-') === small).map(({ id }) => (found.get(id)?.attemptMs ?? Number.NaN) - killedMs)
  rows.push({ what: 'killed; recovered, as the log has it', value: `${victims.length}; ${back}` })
  rows.push({ what: `kill until attempt, ${INSTANCES - SMALL} of the large organisation, ms`, ...summarise(attempts(false)) })
  rows.push({ what: `kill until attempt, ${SMALL} of the small one, ms`, ...summarise(attempts(true)) })
  for (const kind of ['read', 'write'] as const) {
    rows.push({ what: `API ${kind}, idle, ms`, ...summarise(idle[kind]) })
    rows.push({ what: `API ${kind}, until all is back, ms`, ...summarise(storm[kind]) })
    rows.push({ what: `API ${kind}: p99 of the storm by p99 idle`, value: summarise(storm[kind]).p99 / summarise(idle[kind]).p99 })
  }
} finally {
  await platform.stop()
}
publish(`${INSTANCES} processes killed at once`, rows)
