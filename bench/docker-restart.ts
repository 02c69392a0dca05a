// Containers on one engine: (1) `kill -9` of the main process until its successor executes, Holdfast against `--restart=always`, and
// the event path split; (2) API call until running, against a raw `docker run -d`. Usage:
//   HOLDFAST_DOCKER_SOCKET=/var/run/docker.sock node bench/docker-restart.ts IMAGE [runs=10]
// IMAGE needs a /bin/sh. A kill comes at least eleven seconds after the start before it: the engine's own backoff resets after ten.
// More than ten ends within ten minutes are a quarantine, whatever the uptime between them.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, watch } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { detections, killToReceived } from './support/detection.ts'
import { publish } from './support/machine.ts'
import { startPlatform } from './support/platform.ts'
import { median, summarise } from './support/stats.ts'

const SOCKET = process.env.HOLDFAST_DOCKER_SOCKET ?? '/var/run/docker.sock'
const image = process.argv[2]
const RUNS = Number(process.argv[3] ?? 10)
const UPTIME_MS = 11_000
if (!image) throw new Error('usage: node bench/docker-restart.ts IMAGE [runs]')

const docker = (...words: string[]) => execFileSync('docker', ['-H', `unix://${SOCKET}`, ...words], { encoding: 'utf8' }).trim()
const root = await mkdtemp(join(tmpdir(), 'holdfast-docker-'))
const PROGRAM = 'echo x >> /mark/file; exec sleep 1000000'
const markDir = (name: string) => join(root, name)
const killsAtMs: number[] = []
const starts = (name: string) => readFileSync(join(markDir(name), 'file'), 'utf8').length / 2

async function killAndWait(name: string, pid: number): Promise<number> {
  if (!(pid > 1)) throw new Error(`${name}: not running`)
  const before = starts(name)
  const stop = new AbortController()
  const seen = new Promise<number>((resolve) => {
    watch(join(markDir(name), 'file'), { signal: stop.signal }, () => starts(name) > before && resolve(performance.now()))
  })
  const startMs = performance.now()
  if (name === 'restart-holdfast') killsAtMs.push(performance.timeOrigin + startMs)
  process.kill(pid, 'SIGKILL')
  const ms =
    (await Promise.race([seen, sleep(30_000).then(() => Promise.reject(new Error(`${name}: not restarted within 30 s`)))])) - startMs
  stop.abort()
  return ms
}

const platform = await startPlatform({ HOLDFAST_DOCKER_SOCKET: SOCKET })
const made: string[] = []
const samples = { holdfast: [] as number[], engine: [] as number[], apiToRunning: [] as number[], dockerRun: [] as number[] }
// Told by the event stream, not by asking: asking every few milliseconds would compete with what is measured.
const ranAt = new Map<string, number>()
const waiting = new Map<string, (atMs: number) => void>()
const stop = new AbortController()
const following = platform.client.events({ follow: true, signal: stop.signal }, (event) => {
  if (event.type !== 'instance.state_changed' || event.data.to !== 'running' || event.instance_id === null) return
  ranAt.set(event.instance_id, performance.now())
  waiting.get(event.instance_id)?.(performance.now())
})
try {
  const launch = async (name: string) => {
    mkdirSync(markDir(name), { recursive: true })
    const body = {
      name,
      runtime: 'docker' as const,
      image,
      command: ['sh', '-c', PROGRAM],
      memory: '64Mi',
      mounts: [{ source: markDir(name), target: '/mark' }],
    }
    const startMs = performance.now()
    const launched = await platform.client.call('createInstance', { body })
    if (!launched.ok) throw new Error(launched.error.detail)
    const { id } = launched.value
    const atMs = ranAt.get(id) ?? (await new Promise<number>((resolve) => waiting.set(id, resolve)))
    return { id, ms: atMs - startMs }
  }
  const run = (name: string, ...more: string[]) => {
    mkdirSync(markDir(name), { recursive: true })
    const startMs = performance.now()
    made.push(docker('run', '-d', ...more, '--memory', '64m', '-v', `${markDir(name)}:/mark`, image, 'sh', '-c', PROGRAM))
    return performance.now() - startMs
  }
  const own = await launch('restart-holdfast')
  run('restart-engine', '--restart=always')
  const engineContainer = made.at(-1) ?? ''
  for (let index = 0; index < RUNS; index += 1) {
    samples.apiToRunning.push((await launch(`create-${index}`)).ms)
    samples.dockerRun.push(run(`raw-${index}`))
  }
  for (let index = 0; index < RUNS; index += 1) {
    await sleep(UPTIME_MS)
    const view = await platform.client.call('getInstance', { params: { id: own.id } })
    samples.holdfast.push(await killAndWait('restart-holdfast', view.ok ? (view.value.pid ?? 0) : 0))
    samples.engine.push(await killAndWait('restart-engine', Number(docker('inspect', '-f', '{{.State.Pid}}', engineContainer))))
  }
  const found = await detections(platform.dataDir)
  publish('docker, milliseconds', [
    { what: 'kill -9 until the successor executes: holdfast', ...summarise(samples.holdfast) },
    { what: 'kill -9 until the successor executes: --restart=always', ...summarise(samples.engine) },
    { what: 'API call until running: holdfast', ...summarise(samples.apiToRunning) },
    { what: 'docker run -d (command line client)', ...summarise(samples.dockerRun) },
    { what: 'kill -9 until the engine event is received (to the millisecond)', ...summarise(killToReceived(killsAtMs, found)) },
    { what: 'engine event received until the typed reason is journalled', ...summarise(found.map(({ detectionMs }) => detectionMs)) },
    { what: 'ratio restart (goal 0.8)', p50: Math.round((100 * median(samples.holdfast)) / median(samples.engine)) / 100 },
    { what: 'ratio create (goal 1.15)', p50: Math.round((100 * median(samples.apiToRunning)) / median(samples.dockerRun)) / 100 },
  ])
} finally {
  stop.abort()
  await following
  if (made.length > 0) docker('rm', '-f', ...made)
  await platform.stop()
  const left = docker('ps', '-aq', '--filter', `label=holdfast.io/name`).split('\n').filter(Boolean)
  const ours = left.filter((id) => docker('inspect', '-f', '{{range .Mounts}}{{.Source}} {{end}}', id).includes(root))
  if (ours.length > 0) docker('rm', '-f', ...ours)
  await rm(root, { recursive: true, force: true })
}
