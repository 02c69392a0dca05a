// npm run sim -- --seed N                 one simulation; one that fails is shrunk and told
// npm run sim -- --seeds 1..500           many, over --jobs processes; the last line says how many passed
// npm run sim:night                       fresh seeds until told to stop, or for --minutes
// npm run sim -- --mutations              takes one guard out at a time: each has to be noticed within 40 seeds
// Sizes: --hours H --nodes K --instances M --faults F --acts A; --lines L shows the end of the history.
import { type ChildProcess, execFile, fork } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { Coverage } from './coverage.ts'
import { MUTATIONS } from './mutations.ts'
import { type Report, simulate } from './run.ts'
import { SIZE, type Size } from './schedule.ts'
import { shrink } from './shrink.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    hours: { type: 'string' },
    nodes: { type: 'string' },
    instances: { type: 'string' },
    faults: { type: 'string' },
    acts: { type: 'string' },
    jobs: { type: 'string', default: '2' },
    minutes: { type: 'string' },
    lines: { type: 'string', default: '40' },
    night: { type: 'boolean', default: false },
    cover: { type: 'boolean', default: false },
    mutations: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
})

const given = (name: 'hours' | 'nodes' | 'instances' | 'faults' | 'acts') => Number(values[name] ?? SIZE[name])
const size: Size = {
  hours: given('hours'),
  nodes: given('nodes'),
  instances: given('instances'),
  faults: given('faults'),
  acts: given('acts'),
}
const SHRINK_MS = 60_000
/** Each kind of fault and deed has had an effect so often, or a run of many seeds has not shown what it should. */
const CAME_MIN = 100

type Told = Omit<Report, 'lines'>

async function one(seed: number): Promise<number> {
  const report = await simulate({ seed, size })
  console.log(`seed ${seed}: ${report.events} events, history ${report.digest}`)
  if (report.violations.length === 0) {
    console.log('1 passed, 0 failed')
    return 0
  }
  const untilMs = Date.now() + SHRINK_MS
  const shrunk = await shrink(seed, size, report, () => Date.now() < untilMs)
  console.log(`\nshrunk to ${shrunk.schedule.length} entries in ${shrunk.runs} runs:`)
  for (const entry of shrunk.schedule) console.log(`  ${JSON.stringify(entry)}`)
  console.log(shrunk.report.lines.slice(-Number(values.lines)).join('\n'))
  for (const { atMs, step, invariant, detail } of shrunk.report.violations)
    console.log(`\nseed ${seed}, ${Math.round(atMs)} ms, step ${step}: ${invariant}\n  ${detail}`)
  console.log('0 passed, 1 failed')
  return 1
}

/** Hands out seeds to processes of their own, one at a time, until there are none or time is over. */
async function many(seeds: Iterator<number>, untilMs: number): Promise<number> {
  const coverage = new Coverage()
  const failed: Told[] = []
  const take = (told: Told) => {
    coverage.add(told)
    if (told.violations.length === 0) return
    failed.push(told)
    const [first] = told.violations
    console.log(`seed ${told.seed} FAILED at ${Math.round(first?.atMs ?? 0)} ms: ${first?.invariant}: ${first?.detail}`)
  }
  const jobs = Array.from({ length: Number(values.jobs) }, () => work(seeds, untilMs, take))
  await Promise.all(jobs)
  console.log(`\n${coverage.tables()}\n`)
  const holes = values.cover ? holesOf(coverage) : []
  for (const hole of holes) console.log(hole)
  for (const { seed } of failed) console.log(`npm run sim -- --seed ${seed}`)
  console.log(`${coverage.runs - failed.length} passed, ${failed.length + holes.length} failed`)
  return failed.length + holes.length > 0 ? 1 : 0
}

function holesOf(coverage: Coverage): readonly string[] {
  const rare = [...coverage.fired].filter(([, [, hit]]) => hit < CAME_MIN)
  return [
    ...coverage.missing().map((one) => `drawn and not seen: ${one}`),
    ...coverage.unknown().map((one) => `seen and not drawn: ${one}`),
    ...rare.map(([kind, [came, hit]]) => `too rare: ${kind} came ${came} times and had an effect ${hit} times`),
  ]
}

function work(seeds: Iterator<number>, untilMs: number, take: (told: Told) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = fork(import.meta.filename, [...process.argv.slice(2), '--worker'])
    const next = () => {
      const seed = Date.now() < untilMs ? seeds.next() : { done: true as const, value: undefined }
      if (seed.done) child.disconnect()
      else child.send(seed.value)
    }
    child.on('message', (told: Told | 'ready') => {
      if (told !== 'ready') take(told)
      next()
    })
    child.on('error', reject)
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))))
  })
}

const MUTANT_SEEDS = 40

interface Noticed {
  readonly seeds: number
  readonly invariant: string | null
  readonly detail: string
}

/** One process for each, for what is loaded once stays as it is. */
async function mutations(): Promise<number> {
  const left = [...MUTATIONS]
  let missed = 0
  const next = async (): Promise<void> => {
    const mutation = left.shift()
    if (!mutation) return
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(import.meta.dirname, 'mutant.ts'),
      mutation.name,
      String(MUTANT_SEEDS),
    ])
    const { seeds, invariant, detail } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Noticed
    if (invariant === null) missed += 1
    console.log(`| ${mutation.name} | ${invariant ?? 'NOT NOTICED'} | ${seeds} | ${values.lines === '0' ? '' : detail}`)
    return next()
  }
  await Promise.all(Array.from({ length: Number(values.jobs) }, next))
  console.log(`${MUTATIONS.length - missed} passed, ${missed} failed`)
  return missed > 0 ? 1 : 0
}

function serve(): void {
  process.on('message', (seed: number) => {
    void simulate({ seed, size }).then(({ lines: _lines, ...told }) => process.send?.(told))
  })
  process.on('disconnect', () => process.exit(0))
  process.send?.('ready')
}

function* range(text: string): Generator<number> {
  const [from, to] = text.split('..').map(Number)
  for (let seed = from ?? 1; seed <= (to ?? from ?? 1); seed += 1) yield seed
}

function* fresh(): Generator<number> {
  for (let seed = Date.now() % 2 ** 31; ; seed += 1) yield seed
}

const untilMs = values.minutes === undefined ? Number.POSITIVE_INFINITY : Date.now() + Number(values.minutes) * 60_000
if (values.worker) serve()
else if (values.mutations) process.exitCode = await mutations()
else if (values.night) process.exitCode = await many(fresh(), untilMs)
else if (values.seeds) process.exitCode = await many(range(values.seeds), untilMs)
else process.exitCode = await one(Number(values.seed ?? 1))
