// Keeping the last output of what goes away, and reading it afterwards.
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Driver, Emit, LogsEnd } from '../drivers/driver.ts'
import type { InstanceRecord } from '../model/record.ts'
import type { Evidence, EvidenceFiles, Output } from './evidence-files.ts'
import { guard } from './execute.ts'

export interface EvidenceDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly files: EvidenceFiles
  readonly limits: { readonly evidenceDeadlineMs: number }
}

/** Of each stream of an incarnation. */
const BYTES_MAX = 65_536
const LINES_MAX = 10_000
const INCARNATIONS_MAX = 3

/** The output and the typed errors of an instance that is going. A disk that takes nothing must not keep it from going: that is logged. */
export async function keepEvidence(deps: EvidenceDeps, driver: Driver, record: InstanceRecord, signal: AbortSignal): Promise<void> {
  const { id, name } = record.desired
  const last = record.incarnation
  const incarnations = [last - 2, last - 1, last].filter((incarnation) => incarnation >= 1)
  const facts = { name, lastError: record.phase.lastError ?? record.attempts.at(-1)?.error ?? null, attempts: record.attempts }
  await keep(deps, driver, id, facts, incarnations, signal)
}

/** The same for an object of which nobody knows the instance. */
export async function keepOutput(
  deps: EvidenceDeps,
  driver: Driver,
  id: InstanceId,
  incarnation: number,
  signal: AbortSignal,
): Promise<void> {
  await keep(deps, driver, id, { name: null, lastError: null, attempts: [] }, [incarnation], signal)
}

type Facts = Pick<Evidence, 'name' | 'lastError' | 'attempts'>

async function keep(
  deps: EvidenceDeps,
  driver: Driver,
  id: InstanceId,
  facts: Facts,
  incarnations: readonly number[],
  signal: AbortSignal,
): Promise<void> {
  const before = await deps.files.read(id)
  // What cannot be read is replaced.
  const kept = before.ok && before.value ? before.value : { ...facts, outputs: [] }
  const outputs = new Map(kept.outputs.map((one) => [one.incarnation, one]))
  for (const incarnation of incarnations) {
    const output = await tailOf(deps, driver, id, incarnation, signal)
    if (output) outputs.set(incarnation, output)
  }
  const written = await deps.files.keep({
    id,
    runtime: driver.runtime,
    savedAtMs: deps.clock.wallMs(),
    name: facts.name ?? kept.name,
    lastError: facts.lastError ?? kept.lastError,
    attempts: facts.attempts.length > 0 ? facts.attempts : kept.attempts,
    outputs: [...outputs.values()].toSorted((a, b) => a.incarnation - b.incarnation).slice(-INCARNATIONS_MAX),
  })
  if (!written.ok) deps.log.warn('evidence not kept', { instance_id: id, error_code: written.error.code, error: written.error.detail })
}

/** Null when there is none, or it cannot be had. */
async function tailOf(
  { clock, log, limits }: EvidenceDeps,
  driver: Driver,
  id: InstanceId,
  incarnation: number,
  signal: AbortSignal,
): Promise<Output | null> {
  const tails = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
  const take: Emit = ({ stream, data }) => {
    tails[stream] = Buffer.concat([tails[stream], data]).subarray(-BYTES_MAX)
  }
  const options = { follow: false, tailLines: LINES_MAX, sinceMs: null }
  const read = await guard(clock, limits.evidenceDeadlineMs, 'runtime_unreachable', signal, (inner) =>
    driver.logs({ id, incarnation, nonce: '' }, options, take, inner),
  )
  if (!read.ok && read.error.code !== 'not_found')
    log.warn('output not kept', { instance_id: id, incarnation, error_code: read.error.code, error: read.error.detail })
  return read.ok || tails.stdout.length + tails.stderr.length > 0 ? { incarnation, ...tails } : null
}

export interface PastLogs {
  readonly previous: boolean
  readonly tailLines: number | null
  readonly sinceMs: number | null
}

/** The output of an instance that this node does not have any more. `not_found` when nothing is kept of it. */
export async function readEvidence(files: EvidenceFiles, id: InstanceId, asked: PastLogs, emit: Emit): Promise<Result<LogsEnd, Failure>> {
  const kept = await files.read(id)
  if (!kept.ok) return kept
  const output = kept.value?.outputs.at(asked.previous ? -2 : -1)
  if (!kept.value || !output)
    return err(failure('not_found', kept.value ? 'There is no output of it before that.' : 'This node does not have the instance.'))
  const { stdout, stderr } = output
  // Saved output has one time, that of its end.
  if (asked.sinceMs !== null && kept.value.savedAtMs < asked.sinceMs) return ok({ lostBytes: null })
  for (const [stream, bytes] of [
    ['stdout', stdout],
    ['stderr', stderr],
  ] as const) {
    const data = asked.tailLines === null ? bytes : lastLines(Buffer.from(bytes), asked.tailLines)
    if (data.length > 0) await emit({ stream, data, atMs: null })
  }
  return ok({ lostBytes: null })
}

const NEWLINE = 10

function lastLines(bytes: Buffer, lines: number): Buffer {
  let from = bytes.length
  for (let left = lines; left > 0 && from > 0; left -= 1) {
    // The break that ends a line begins none.
    from = from < 2 ? 0 : bytes.lastIndexOf(NEWLINE, from - 2) + 1
  }
  return bytes.subarray(from)
}
