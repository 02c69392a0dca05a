// The end of every change to an instance: the receipt, or with --wait the waiting and its outcome as an exit code.
import { err, ok } from '../base/result.ts'
import type { Client } from '../client/client.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import type { InstanceView } from '../contracts/views.ts'
import type { Core } from './core.ts'
import { EXIT } from './exit.ts'
import type { Output } from './output.ts'
import { timeOfDay } from './render/human.ts'
import { errorText, receipt, stateText } from './render/instance.ts'
import { report } from './report.ts'
import type { Outcome } from './verb.ts'
import { type Awaited, awaitState, type Standard } from './wait.ts'

export const WAIT_TIMEOUT_MS = 60_000

export interface Finish {
  readonly core: Core
  readonly out: Output
  readonly client: Client
  /** Past tense: `launched`, `stopping`. */
  readonly what: string
  readonly instance: InstanceView
  readonly next: string
  readonly awaited: Awaited | undefined
  readonly timeoutMs: number | undefined
  readonly afterIncarnation?: number
}

export async function finish(given: Finish): Promise<Outcome> {
  const { out, instance, awaited } = given
  if (awaited === undefined) {
    await out.value(instance, () => `${receipt(given.what, instance)}${out.next(given.next)}`)
    return ok(EXIT.ok)
  }
  await out.note(`${given.what} ${instance.name} (${instance.id}); waiting until it is ${awaited}`)
  return waitAndTell({ ...given, proven: true, id: instance.id, awaited, timeoutMs: given.timeoutMs ?? WAIT_TIMEOUT_MS })
}

export interface Waiting extends Standard {
  readonly core: Core
  readonly out: Output
  readonly client: Client
  readonly id: string
  readonly awaited: Awaited
  readonly timeoutMs: number
}

export async function waitAndTell(given: Waiting): Promise<Outcome> {
  const { core, out, client } = given
  const waited = await awaitState(core, client, {
    ...given,
    onChange: (instance) => out.note(`${timeOfDay(instance.updated_at)} ${instance.name} ${stateText(instance)}: ${instance.reason}`),
  })
  if (!waited.ok && waited.error.code !== 'wait_timeout') return waited
  if (!waited.ok)
    return ok(await report(core, out.json, waited.error, `Run holdfast why ${waited.error.fields?.name} to see what it waits for.`))
  const { reached, instance } = waited.value
  if (reached) {
    const value = instance ?? { id: given.id, state: 'deleted' }
    await out.value(value, () => `${instance?.name ?? given.id} is ${instance === undefined ? 'deleted' : stateText(instance)}`)
    return ok(EXIT.ok)
  }
  if (instance === undefined) return err(failure('not_found', `${given.id} is gone, so it will never be ${given.awaited}.`))
  const next = RETRIED.has(instance.state)
    ? `Run holdfast logs ${instance.name} and holdfast why ${instance.name}, correct the cause, then holdfast recover ${instance.name} --wait.`
    : undefined
  return ok(await report(core, out.json, ended(instance, given.awaited), next, EXIT.terminalFailure))
}

/** It is tried again by itself, ever more slowly: nothing that waiting for would be of use, and nothing that is lost for good. */
const RETRIED: ReadonlySet<string> = new Set(['crash_looping', 'quarantined'])

function ended(instance: InstanceView, awaited: Awaited): Failure {
  const fields = { instance_id: instance.id, name: instance.name, state: instance.state, reason: instance.reason }
  const why = instance.last_error
  if (why === null)
    return failure('wrong_state', `${instance.name} is ${instance.state} (${instance.reason}) and will not be ${awaited}.`, fields)
  const end = RETRIED.has(instance.state) ? `, so it is not waited for until it is ${awaited}` : ` and will not be ${awaited}`
  return failure(why.code, `${instance.name} is ${instance.state}${end}: ${errorText(why)}`, fields)
}
