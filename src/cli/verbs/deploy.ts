import { durationText } from '../../base/duration-text.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { Client } from '../../client/client.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { EnvStatusView } from '../../contracts/views.ts'
import type { Core } from '../core.ts'
import { EXIT } from '../exit.ts'
import { duration, flag, text } from '../flags.ts'
import type { Output } from '../output.ts'
import { envLine } from '../render/env.ts'
import { report } from '../report.ts'
import { connect } from '../session.ts'
import { type Outcome, verb } from '../verb.ts'
import { PASSING } from '../wait.ts'

export const DEFAULT_ENV = 'prod'
const WAIT_TIMEOUT_MS = 300_000
const POLL_MS = 500

export const deploy = verb({
  name: 'deploy',
  args: '[manifest]',
  group: 'Deploy and launch',
  summary: 'Move an env to what a manifest says (default: holdfast.toml)',
  more: 'Replicas are replaced one at a time; each must be ready before the next.',
  flags: {
    env: text('--env <env>', `the env to move (default ${DEFAULT_ENV})`),
    dryRun: flag('--dry-run', 'check the manifest and change nothing'),
    wait: flag('--wait', 'wait until every replica runs it and is ready'),
    waitTimeout: duration('--wait-timeout <time>', 'give up waiting after this long (default 5m)'),
  },
  async run({ core, out, args: [given], flags }) {
    const { loadManifest } = await import('../manifest.ts')
    const env = flags.env ?? DEFAULT_ENV
    const manifest = await loadManifest(core.cwd, given, env)
    if (!manifest.ok) return manifest
    const { compiled, data, name } = manifest.value
    if (flags.dryRun) {
      const processes = compiled.processes.map((process) => ({
        name: process.name,
        runtime: process.spec.runtime,
        replicas: process.replicas,
        hash: process.hash,
      }))
      await out.value(
        { app: compiled.app, env, hash: compiled.hash, processes },
        () => `${name} is valid: ${processes.map((each) => `${each.name} × ${each.replicas} (${each.runtime})`).join(', ')}\n`,
      )
      return ok(EXIT.ok)
    }
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const deployed = await client.value.call('deploy', { body: { manifest: { ...data }, env } })
    if (!deployed.ok) return deployed
    if (!flags.wait) {
      await out.value(
        deployed.value,
        () => `accepted ${compiled.app} ${env} (${deployed.value.id})\n${out.next(`holdfast status ${compiled.app}`)}`,
      )
      return ok(EXIT.ok)
    }
    return waitForEnv(core, out, client.value, deployed.value, flags.waitTimeout ?? WAIT_TIMEOUT_MS)
  },
})

async function waitForEnv(core: Core, out: Output, client: Client, first: EnvStatusView, timeoutMs: number): Promise<Outcome> {
  const startedMs = core.clock.elapsedMs()
  let shown = ''
  for (let now: Result<EnvStatusView, Failure> = ok(first); ; now = await readEnv(client, first)) {
    if (!now.ok && !PASSING.has(now.error.code)) return now
    if (now.ok) {
      const env = now.value
      if (envLine(env) !== shown) await out.note(envLine(env))
      shown = envLine(env)
      if (isThere(env, first)) {
        await out.value(
          env,
          () => `${env.app} ${env.env} runs ${env.manifest_hash.slice(0, 19)}\n${out.next(`holdfast status ${env.app}`)}`,
        )
        return ok(EXIT.ok)
      }
      if (env.state === 'failing') {
        const bad = env.processes.flatMap((process) => process.instances).find((each) => each.state !== 'running')
        const next = bad === undefined ? undefined : `Run holdfast why ${bad.name}.`
        return ok(
          await report(
            core,
            out.json,
            failure('start_failed', `${env.app} ${env.env} does not come up: ${envLine(env)}`, { env_id: env.id }),
            next,
            EXIT.terminalFailure,
          ),
        )
      }
    }
    if (core.clock.elapsedMs() - startedMs > timeoutMs)
      return err(failure('wait_timeout', `${shown || 'no status'} after ${durationText(timeoutMs)}.`, { env_id: first.id }))
    await core.clock.sleep(POLL_MS)
  }
}

/** Somebody else's newer manifest is not the one this command waits for, but then there is nothing left to wait for either. */
const isThere = (env: EnvStatusView, first: EnvStatusView): boolean => env.state === 'running' && env.manifest_hash === first.manifest_hash

async function readEnv(client: Client, first: EnvStatusView): Promise<Result<EnvStatusView, Failure>> {
  const listed = await client.call('listEnvs', { query: { app: first.app, limit: 200 } })
  if (!listed.ok) return listed
  const found = listed.value.items.find((env) => env.id === first.id)
  return found === undefined ? err(failure('not_found', `The env ${first.app} ${first.env} is gone.`)) : ok(found)
}
