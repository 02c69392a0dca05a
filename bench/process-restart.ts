// How long from `kill -9` of a program until its successor executes? Holdfast against runit, supervisord, pm2 and a bare Node loop, all
// running at once on this machine, killed in turn by the same injector. The program is a shell script that writes its pid and then
// execs sleep; the injector hears of the pid by inotify. Each program runs at least ten seconds between two kills, so that nobody's
// backoff counts. Usage: node bench/process-restart.ts [programs=10] [rounds=3]
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, watch, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { detections, killToReceived } from './support/detection.ts'
import { publish } from './support/machine.ts'
import { type Platform, startPlatform } from './support/platform.ts'
import { summarise } from './support/stats.ts'

const PROGRAMS = Number(process.argv[2] ?? 10)
const ROUNDS = Number(process.argv[3] ?? 3)
const UPTIME_MS = 11_000
const PM2 = 'pm2@7.0.4'

interface Supervisor {
  readonly name: string
  stop(): Promise<void>
}

const root = await mkdtemp(join(tmpdir(), 'holdfast-restart-'))
const marks = (name: string) => join(root, name, 'marks')
const scriptOf = (name: string, index: number) => join(root, name, `program-${index}.sh`)

function writePrograms(name: string): void {
  mkdirSync(marks(name), { recursive: true })
  for (let index = 0; index < PROGRAMS; index += 1) {
    writeFileSync(scriptOf(name, index), `#!/bin/sh\necho $$ >> ${join(marks(name), String(index))}\nexec sleep 1000000\n`)
    chmodSync(scriptOf(name, index), 0o755)
  }
}

const has = (command: string) => {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const end = async (child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM') => {
  const ended = new Promise((done) => child.once('exit', done))
  child.kill(signal)
  await ended
}

const each = <T>(make: (index: number) => T) => Array.from({ length: PROGRAMS }, (_, index) => make(index))

let platform: Platform | null = null
const killsAtMs: number[] = []

async function holdfast(): Promise<Supervisor> {
  const own = await startPlatform()
  platform = own
  for (const index of each((at) => at)) {
    const launched = await own.client.call('createInstance', {
      body: { name: `program-${index}`, command: [scriptOf('holdfast', index)], memory: '16Mi' },
    })
    if (!launched.ok) throw new Error(launched.error.detail)
  }
  return { name: 'holdfast', stop: () => own.stop() }
}

async function runit(): Promise<Supervisor> {
  for (const index of each((at) => at)) {
    const dir = join(root, 'runit', 'services', `program-${index}`)
    mkdirSync(dir, { recursive: true })
    writeFileSync(join(dir, 'run'), `#!/bin/sh\nexec ${scriptOf('runit', index)}\n`)
    chmodSync(join(dir, 'run'), 0o755)
  }
  const child = spawn('runsvdir', [join(root, 'runit', 'services')], { stdio: 'ignore' })
  return { name: 'runit', stop: () => end(child, 'SIGHUP') }
}

async function supervisord(): Promise<Supervisor> {
  const programs = each(
    (index) =>
      `[program:p${index}]\ncommand=${scriptOf('supervisord', index)}\nautorestart=true\nstdout_logfile=NONE\nstderr_logfile=NONE\n`,
  )
  const conf = join(root, 'supervisord', 'supervisord.conf')
  writeFileSync(
    conf,
    `[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=${join(root, 'supervisord', 'pid')}\n${programs.join('\n')}`,
  )
  const child = spawn('supervisord', ['-c', conf], { stdio: 'ignore' })
  return { name: 'supervisord', stop: () => end(child) }
}

async function pm2(): Promise<Supervisor> {
  const dir = join(root, 'pm2')
  execFileSync('npm', ['install', '--prefix', dir, '--no-audit', '--no-fund', PM2], { stdio: 'ignore' })
  const bin = join(dir, 'node_modules/pm2/bin/pm2')
  const run = (...words: string[]) =>
    execFileSync(process.execPath, [bin, ...words], { stdio: 'ignore', env: { ...process.env, PM2_HOME: join(dir, 'home') } })
  for (const index of each((at) => at)) run('start', scriptOf('pm2', index), '--name', `p${index}`, '--interpreter', 'none')
  return { name: 'pm2', stop: async () => void run('kill') }
}

async function bareNode(): Promise<Supervisor> {
  const script = `const {spawn}=require('node:child_process');const run=(f)=>spawn(f,{stdio:'ignore'}).on('exit',()=>run(f));process.argv.slice(1).forEach(run)`
  const child = spawn(process.execPath, ['-e', script, ...each((index) => scriptOf('bare-node', index))], { stdio: 'ignore' })
  return { name: 'bare-node', stop: () => end(child, 'SIGKILL') }
}

const pids = (name: string, index: number): readonly number[] => {
  const file = join(marks(name), String(index))
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []
}

async function killOne(name: string, index: number): Promise<number> {
  const before = pids(name, index)
  const pid = before.at(-1)
  if (!pid || pid <= 1) throw new Error(`${name} has not started program ${index}`)
  const watching = new AbortController()
  const seen = new Promise<number>((resolve, reject) => {
    const watcher = watch(join(marks(name), String(index)), { signal: watching.signal }, () => {
      if (pids(name, index).length > before.length) resolve(performance.now())
    })
    watcher.once('error', reject)
  })
  const late = sleep(30_000, undefined, { signal: watching.signal }).then(() =>
    Promise.reject(new Error(`${name} did not restart program ${index} within 30 s`)),
  )
  late.catch(() => {})
  const startMs = performance.now()
  if (name === 'holdfast') killsAtMs.push(performance.timeOrigin + startMs)
  process.kill(pid, 'SIGKILL')
  const ms = (await Promise.race([seen, late])) - startMs
  watching.abort()
  return ms
}

const candidates = [
  { name: 'holdfast', make: holdfast, usable: true },
  { name: 'runit', make: runit, usable: has('runsvdir') },
  { name: 'supervisord', make: supervisord, usable: has('supervisord') },
  { name: 'pm2', make: pm2, usable: true },
  { name: 'bare-node', make: bareNode, usable: true },
]
const supervisors: Supervisor[] = []
const samples = new Map<string, number[]>()
let path: readonly Record<string, unknown>[] = []
try {
  for (const { name, make, usable } of candidates) {
    if (!usable) {
      process.stderr.write(`${name}: not installed, left out\n`)
      continue
    }
    writePrograms(name)
    supervisors.push(await make())
    samples.set(name, [])
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    await sleep(UPTIME_MS)
    for (let index = 0; index < PROGRAMS; index += 1)
      for (const { name } of supervisors) samples.get(name)?.push(await killOne(name, index))
  }
  if (platform !== null) {
    const found = await detections((platform as Platform).dataDir)
    path = [
      { what: 'kill -9 until the event is received (to the millisecond)', ...summarise(killToReceived(killsAtMs, found)) },
      { what: 'event received until the typed reason is journalled', ...summarise(found.map(({ detectionMs }) => detectionMs)) },
    ]
  }
} finally {
  for (const supervisor of supervisors) await supervisor.stop()
  for (const { name } of candidates)
    for (const index of each((at) => at)) {
      const pid = pids(name, index).at(-1)
      if (pid && pid > 1 && existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('sleep\x001000000'))
        process.kill(pid, 'SIGKILL')
    }
  await rm(root, { recursive: true, force: true })
}
const own = summarise(samples.get('holdfast') ?? [])
publish(
  'process: kill -9 until the next pid executes, milliseconds',
  [...samples].map(([name, sample]) => ({
    supervisor: name,
    ...summarise(sample),
    'p50 / holdfast': Math.round((summarise(sample).p50 / own.p50) * 100) / 100,
  })),
)
publish('process: the event path of holdfast, milliseconds', path)
