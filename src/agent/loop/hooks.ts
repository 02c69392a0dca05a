// Tells the operator's program what happened to instances: one run for each hook, those of one instance one after the other and in order,
// those of several instances beside each other. It never holds up the reconcile loop: what comes in is put in line and that is all.
//
// Bounds: `concurrencyMax` runs at once, `queueMax` in line; what comes when the line is full is dropped, counted, and said once until half
// of it is free again. A run that fails, hangs or throws is counted and logged, and the next one of its instance goes on. A hook is told at most once.
import type { Clock } from '../../base/clock.ts'
import { durationText } from '../../base/duration-text.ts'
import type { Logger } from '../../base/log.ts'
import { err, type Result } from '../../base/result.ts'
import type { Transition } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { HookEvent } from '../../contracts/hook.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { InstanceRecord } from '../model/record.ts'
import { hooksOf } from '../reconcile/hooks.ts'

export interface HookProgram {
  readonly timeoutMs: number
  /** Runs it with this line as its input; the answer is its exit code. Aborted at its deadline, and when the agent closes. */
  run(line: string, signal: AbortSignal): Promise<Result<number, Failure>>
}

export interface HooksDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly meter: Meter
  readonly nodeId: string
  readonly program: HookProgram
  readonly concurrencyMax: number
  readonly queueMax: number
}

export class Hooks {
  readonly #deps: HooksDeps
  readonly #lines = new Map<InstanceId, HookEvent[]>()
  /** Instances that have something in line and nothing running, longest waiting first. */
  readonly #ready = new Set<InstanceId>()
  readonly #running = new Map<InstanceId, AbortController>()
  #queued = 0
  #full = false
  #closed = false

  constructor(deps: HooksDeps) {
    this.#deps = deps
  }

  /** Never waits and never throws. */
  tell(record: InstanceRecord, transitions: readonly Transition[]): void {
    const { id, name, orgId, labels } = record.desired
    for (const { to, from, incarnation, atMs } of transitions)
      for (const hook of hooksOf({ from, to }))
        this.#add({
          hook,
          instance_id: id,
          name,
          org_id: orgId,
          node_id: this.#deps.nodeId,
          labels,
          incarnation,
          state: to.kind,
          reason: to.reason,
          error: to.lastError && { code: to.lastError.code, detail: to.lastError.detail },
          at: new Date(atMs).toISOString(),
        })
    this.#pump()
  }

  /** What is in line is dropped; what runs is ended. */
  close(): void {
    this.#closed = true
    this.#lines.clear()
    this.#ready.clear()
    for (const controller of this.#running.values()) controller.abort(new Error('the agent is closing'))
  }

  #add(event: HookEvent): void {
    const { log, meter, queueMax } = this.#deps
    if (this.#closed) return
    if (this.#queued >= queueMax) {
      meter.count('hook_runs_total', { hook: event.hook, outcome: 'dropped' })
      if (!this.#full) log.warn('hooks dropped', { queued: this.#queued, hook: event.hook, instance_id: event.instance_id })
      this.#full = true
      return
    }
    // Not at the first place that is free: a line that stays full is said once, not at each end of a run.
    if (this.#queued < queueMax / 2) this.#full = false
    this.#queued += 1
    const line = this.#lines.get(event.instance_id)
    if (line) line.push(event)
    else this.#lines.set(event.instance_id, [event])
    if (!this.#running.has(event.instance_id)) this.#ready.add(event.instance_id)
  }

  #pump(): void {
    for (const id of this.#ready) {
      if (this.#running.size >= this.#deps.concurrencyMax) return
      this.#ready.delete(id)
      const event = this.#lines.get(id)?.shift()
      if (!event) continue
      this.#queued -= 1
      const controller = new AbortController()
      this.#running.set(id, controller)
      void this.#one(event, controller).finally(() => {
        this.#running.delete(id)
        if (this.#lines.get(id)?.length === 0) this.#lines.delete(id)
        else if (this.#lines.has(id)) this.#ready.add(id)
        this.#pump()
      })
    }
  }

  async #one(event: HookEvent, controller: AbortController): Promise<void> {
    const { clock, log, meter, program } = this.#deps
    const { timeoutMs } = program
    const startedMs = clock.elapsedMs()
    const late = failure('exec_failed', `It did not end within ${durationText(timeoutMs)} and was killed.`, { timed_out: true })
    const cancel = clock.after(timeoutMs, () => controller.abort(new Error('deadline')))
    const timedOut = () => clock.elapsedMs() - startedMs >= timeoutMs
    const { promise: given, resolve: giveUp } = Promise.withResolvers<Result<number, Failure>>()
    // Whatever runs it may ignore its signal; the next hook does not wait for that.
    controller.signal.addEventListener('abort', () => giveUp(err(late)), { once: true })
    const told = await Promise.race([given, guarded(() => program.run(`${JSON.stringify(event)}\n`, controller.signal))])
    cancel()
    if (this.#closed) return
    const { hook, instance_id, name, incarnation } = event
    const why = told.ok ? (told.value === 0 ? null : failure('exec_failed', `It ended with exit code ${told.value}.`)) : told.error
    const outcome = why === null ? 'ok' : timedOut() ? 'timeout' : 'failed'
    meter.count('hook_runs_total', { hook, outcome })
    if (why === null) return
    const duration_ms = Math.round(clock.elapsedMs() - startedMs)
    log.warn('hook failed', {
      vm_id: instance_id,
      instance_id,
      name,
      incarnation,
      hook,
      error_code: why.code,
      error: why.detail,
      duration_ms,
    })
  }
}

async function guarded(run: () => Promise<Result<number, Failure>>): Promise<Result<number, Failure>> {
  try {
    return await run()
  } catch (error) {
    return err(failure('internal', `Running it failed: ${error instanceof Error ? error.message : String(error)}.`, {}, error))
  }
}
