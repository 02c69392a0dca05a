// cloud-init of one container at a time: keys and files before it starts, commands after, each command at most once per container.
//
// What is left to do is kept in the instance's directory (mode 0600) until it is done, so an agent that died in the middle goes on
// where it was. Commands run in the background: a start waits for them only for a short while.
import { z } from 'zod'
import type { Clock } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import { OK, type Result } from '../../../base/result.ts'
import type { Failure } from '../../../contracts/errors.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import { CloudInitStatus } from '../../../contracts/phase.ts'
import { type CloudState, planCommands, runCommands } from '../../cloud-init/commands.ts'
import { installFiles } from '../../cloud-init/install.ts'
import { cloudPlan } from '../../cloud-init/plan.ts'
import type { Target, Wanted } from '../driver.ts'
import type { Engine } from './engine.ts'
import type { InstanceFiles } from './files.ts'
import { guestFiles, guestRun } from './guest.ts'
import { containerName } from './marks.ts'

const STATE = 'cloud-init.json'
const STATUSES_MAX = 20_000

const KeptState = z.object({
  status: CloudInitStatus,
  todo: z.array(
    z.object({
      step: z.string(),
      argv: z.array(z.string()),
      stdin: z.string().nullable(),
      env: z.array(z.string()),
      timeoutMs: z.number(),
    }),
  ),
  begun: z.boolean(),
})

interface CloudInitDeps {
  readonly engine: Engine
  readonly files: InstanceFiles
  readonly clock: Clock
  readonly log: Logger
  /** Called when the status of an instance has changed. */
  changed(id: InstanceId): void
}

export class CloudInit {
  readonly #deps: CloudInitDeps
  readonly #closing = new AbortController()
  readonly #running = new Map<string, Promise<void>>()
  readonly #statuses = new Map<string, CloudInitStatus>()

  constructor(deps: CloudInitDeps) {
    this.#deps = deps
  }

  /** Users, keys and files into a container that was made and not started; then writes down what is to run in it. */
  async install(want: Wanted, containerId: string, signal: AbortSignal): Promise<Result<void, Failure>> {
    const plan = cloudPlan(want.spec.userData, want.spec.sshAuthorizedKeys)
    if (!plan.ok) return plan
    const files = guestFiles(this.#deps.engine, containerId)
    const installed = await installFiles({ files, nowMs: this.#deps.clock.wallMs(), signal }, plan.value)
    const { commands, failed, unsupported } = await planCommands(plan.value, files, signal)
    const status: CloudInitStatus = {
      done: commands.length === 0,
      steps: [...installed, ...failed],
      unsupported: [...plan.value.config.unsupported, ...unsupported],
    }
    return this.#save(want, { status, todo: commands, begun: false })
  }

  /** Null when nothing is known of it (its directory was lost). */
  async status(target: Target): Promise<CloudInitStatus | null> {
    const key = containerName(target)
    const known = this.#statuses.get(key)
    if (known) return known
    const kept = await this.#load(target)
    if (kept) this.#remember(key, kept.status)
    return kept?.status ?? null
  }

  /** Begins, or goes on with, the commands of a running container, in the background. Again: no effect. */
  resume(target: Target, containerId: string): void {
    const key = containerName(target)
    if (this.#running.has(key) || this.#closing.signal.aborted || this.#statuses.get(key)?.done !== false) return
    const work = this.#run(target, containerId).finally(() => this.#running.delete(key))
    this.#running.set(key, work)
  }

  /** Waits for the commands to end, at most so long; they go on afterwards. */
  async settle(target: Target, waitMs: number, signal: AbortSignal): Promise<void> {
    const work = this.#running.get(containerName(target))
    if (!work) return
    const stop = new AbortController()
    const either = AbortSignal.any([signal, stop.signal])
    await Promise.race([work, this.#deps.clock.sleep(waitMs, either).catch(() => undefined)])
    stop.abort()
  }

  forget(target: Pick<Target, 'id' | 'incarnation'>): void {
    this.#statuses.delete(containerName(target))
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.all(this.#running.values())
  }

  async #run(target: Target, containerId: string): Promise<void> {
    const state = await this.#load(target)
    if (!state || state.todo.length === 0) return
    const deps = { run: guestRun(this.#deps, containerId), save: (next: CloudState) => this.#save(target, next, true) }
    const ended = await runCommands(deps, state, this.#closing.signal)
    if (!ended.ok)
      this.#deps.log.error('cloud-init stopped', { instance_id: target.id, error_code: ended.error.code, error: ended.error.detail })
    this.#deps.changed(target.id)
  }

  /** Undefined when it is absent or cannot be read: then no command is run, for it may have been run before. */
  async #load(target: Target): Promise<CloudState | undefined> {
    const kept = await this.#deps.files.read(target, STATE, KeptState)
    if (kept.ok) return kept.value ?? undefined
    this.#deps.log.warn('cloud-init state could not be read', { instance_id: target.id, error: kept.error.detail })
    return undefined
  }

  async #save(target: Target, state: CloudState, durable = false): Promise<Result<void, Failure>> {
    const written = await this.#deps.files.write(target, STATE, JSON.stringify(state), durable)
    if (!written.ok) return written
    this.#remember(containerName(target), state.status)
    return OK
  }

  #remember(key: string, status: CloudInitStatus): void {
    this.#statuses.delete(key)
    this.#statuses.set(key, status)
    const oldest = this.#statuses.size > STATUSES_MAX ? this.#statuses.keys().next().value : undefined
    if (oldest !== undefined) this.#statuses.delete(oldest)
  }
}
