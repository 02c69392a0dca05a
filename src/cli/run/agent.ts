// `holdfast agent`: the node agent alone, with a small server of its own for /metrics and /health.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { err, ok, type Result } from '../../base/result.ts'
import { type HostPort, parseHostPort } from '../../contracts/config.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Core } from '../core.ts'
import { errnoOf } from '../errno.ts'
import { EXIT } from '../exit.ts'
import type { Output } from '../output.ts'
import { sendable } from '../settings.ts'
import type { Outcome } from '../verb.ts'
import { makeParts, readConfig, startAgentPart } from './parts.ts'
import { servePulse } from './pulse.ts'
import { createReload } from './reload.ts'
import { serveOn } from './serve.ts'

export interface AgentFlags {
  readonly control: string
  readonly stateDir: string
  readonly tokenFile: string | undefined
  readonly listen: string | undefined
  readonly nodeName: string | undefined
  readonly config: string | undefined
}

const DEFAULT_LISTEN = '127.0.0.1:7071'

export async function runAgent(core: Core, out: Output, flags: AgentFlags): Promise<Outcome> {
  const stateDir = path.resolve(core.cwd, flags.stateDir)
  const listen = readListen(flags.listen ?? DEFAULT_LISTEN)
  if (!listen.ok) return listen
  const control = URL.parse(flags.control)
  if (control === null || !/^https?:$/.test(control.protocol))
    return err(failure('invalid_input', `--control: ${flags.control} is not an http or https address`, { field: '--control' }))
  const token = await readToken(core, flags.tokenFile)
  if (!token.ok) return token
  const load = () => readConfig(core, stateDir, { config: flags.config, nodeName: flags.nodeName })
  const config = await load()
  if (!config.ok) return config
  return serveOn(core, out, stateDir, 'agent', async ({ ending, cleanup }) => {
    const parts = makeParts(core, config.value.config, 'agent', (line) => void core.err.write(line))
    const agent = await startAgentPart(parts, { stateDir, controlUrl: flags.control.replace(/\/+$/, ''), token: token.value })
    if (!agent.ok) return agent
    cleanup.add('agent', () => agent.value.close())
    const { log } = parts
    ending.onHangup(createReload({ log, started: config.value.config, load, apply: (section) => agent.value.setReliability(section) }))
    const pulse = await servePulse(listen.value, {
      token: token.value,
      metrics: parts.telemetry.render,
      health: () => agent.value.health(),
      failed: (error) =>
        parts.log.error('pulse failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    })
    if (!pulse.ok) return pulse
    cleanup.add('metrics and health', () => pulse.value.close())
    const refused = await agent.value.accepted()
    const ready = {
      ready: true,
      node: agent.value.nodeId,
      url: pulse.value.url,
      state: stateDir,
      connected: refused === null,
      why: refused,
    }
    const connection = refused === null ? 'connected' : `not connected yet: ${refused.replace(/\.$/, '')}`
    await out.value(ready, () => `holdfast agent ready node=${ready.node} url=${ready.url} state=${stateDir} (${connection})\n`)
    parts.log.info('stopping', { signal: await ending.asked })
    return ok(EXIT.ok)
  })
}

function readListen(text: string): Result<HostPort, Failure> {
  const parsed = parseHostPort(text)
  return parsed === undefined
    ? err(failure('invalid_input', '--listen: must be HOST:PORT, such as 127.0.0.1:7071', { field: '--listen' }))
    : ok(parsed)
}

async function readToken(core: Core, given: string | undefined): Promise<Result<string, Failure>> {
  const file = given ?? core.env.HOLDFAST_TOKEN_FILE
  if (!file) {
    const token = core.env.HOLDFAST_TOKEN?.trim()
    return token
      ? sendable(token, 'HOLDFAST_TOKEN')
      : err(failure('unauthenticated', 'agent needs --token-file FILE, HOLDFAST_TOKEN_FILE or HOLDFAST_TOKEN.'))
  }
  try {
    const token = (await readFile(path.resolve(core.cwd, file), 'utf8')).trim()
    return token === '' ? err(failure('unauthenticated', `${file} holds no token.`, { path: file })) : sendable(token, file)
  } catch (error) {
    const detail = `--token-file: cannot read ${file} (${errnoOf(error)}); the control plane keeps it as agent.token in its data directory`
    return err(failure('invalid_input', detail, { field: '--token-file', path: file }, error))
  }
}
