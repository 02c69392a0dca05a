// Questions from people that the control plane passes on: logs, exec, stats. They look at or into an instance and change no state.
import type { Clock } from '../../base/clock.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { AgentRequest, ReplyChunk, Stats } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { GarbageReport } from '../../contracts/garbage.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { Runtime } from '../../contracts/spec.ts'
import { CHUNK_BYTES_MAX } from '../../contracts/stream-window.ts'
import type { Driver, Emit, LogsEnd } from '../drivers/driver.ts'
import type { InstanceRecord } from '../model/record.ts'
import { readEvidence } from './evidence.ts'
import type { EvidenceFiles } from './evidence-files.ts'
import { guard } from './execute.ts'

export interface Answer {
  readonly error: Failure | null
  readonly exitCode: number | null
  readonly stats: Stats | null
  readonly lostBytes: number | null
  /** Of which incarnation the output was. */
  readonly incarnation?: number
  readonly gc?: GarbageReport
}

const NOTHING: Answer = { error: null, exitCode: null, stats: null, lostBytes: null }
const NOT_HERE = failure('not_found', 'This node does not have the instance.')

const BEFORE_OUTPUT: ReadonlySet<PhaseKind> = new Set(['placed', 'preparing', 'starting'])
const TRIED_AGAIN: ReadonlySet<PhaseKind> = new Set(['recovering', 'crash_looping'])
/** How late a follower that waits for a start may see its first output. */
const FOLLOW_POLL_MS = 100

export interface RequestDeps {
  readonly clock: Clock
  readonly limits: { readonly statsDeadlineMs: number }
  readonly drivers: ReadonlyMap<Runtime, Driver>
  record(id: InstanceId): InstanceRecord | undefined
  /** What is kept of instances that this node does not have any more. */
  readonly evidence: EvidenceFiles
  collectGarbage(asked: Omit<Extract<AgentRequest, { op: 'gc' }>, 'op'>): Promise<GarbageReport>
}

export async function answer(
  deps: RequestDeps,
  request: AgentRequest,
  hand: (chunk: ReplyChunk) => Promise<void>,
  signal: AbortSignal,
): Promise<Answer> {
  if (request.op === 'gc') return { ...NOTHING, gc: await deps.collectGarbage(request) }
  const record = deps.record(request.instanceId)
  if (request.op === 'purge') return answered(await deps.evidence.drop(request.instanceId))
  if (request.op === 'logs' && (!record || record.phase.kind === 'deleted'))
    return answered(await caught(() => readEvidence(deps.evidence, request.instanceId, request, inPieces(hand))))
  if (!record) return { ...NOTHING, error: NOT_HERE }
  const { runtime } = record.desired.spec
  const driver = deps.drivers.get(runtime)
  if (!driver) return { ...NOTHING, error: failure('runtime_unavailable', `This node has no ${runtime} runtime.`) }
  const send = inPieces(hand)
  if (request.op === 'logs') {
    const ended = await (request.follow && !request.previous ? follow : read)(deps, driver, record, request, send, signal)
    return ended.ok ? { ...NOTHING, ...ended.value } : { ...NOTHING, error: ended.error }
  }
  const refused = refuse(record, driver, request)
  if (refused) return { ...NOTHING, error: refused }
  const target = { id: record.desired.id, incarnation: record.incarnation, nonce: record.nonce }
  switch (request.op) {
    case 'exec': {
      const stdin = request.stdin === null ? null : Buffer.from(request.stdin, 'base64')
      const code = await caught(() =>
        driver.exec(target, { command: request.command, stdin, timeoutMs: request.timeoutMs, user: request.user }, send, signal),
      )
      return code.ok ? { ...NOTHING, exitCode: code.value } : { ...NOTHING, error: code.error }
    }
    case 'stats': {
      const stats = await guard(deps.clock, deps.limits.statsDeadlineMs, 'runtime_unreachable', signal, (inner) =>
        driver.stats(target, inner),
      )
      return stats.ok ? { ...NOTHING, stats: stats.value } : { ...NOTHING, error: stats.error }
    }
    default:
      return request satisfies never
  }
}

const answered = (result: Result<unknown, Failure>): Answer => (result.ok ? NOTHING : { ...NOTHING, error: result.error })
type LogsRequest = Extract<AgentRequest, { op: 'logs' }>
type Read = (
  deps: RequestDeps,
  driver: Driver,
  record: InstanceRecord,
  request: LogsRequest,
  send: Emit,
  signal: AbortSignal,
) => Promise<Result<RunEnd, Failure>>
interface RunEnd extends LogsEnd {
  readonly incarnation: number
}

const read: Read = (_deps, driver, record, request, send, signal) => {
  const incarnation = record.incarnation - (request.previous ? 1 : 0)
  return readRun(driver, record, incarnation, request, send, signal)
}

/**
 * The current incarnation to its end, from its beginning also when that is still to come. One that never began ends without output as
 * soon as there is another, or will be: so nobody who goes on with the next one misses any or reads any twice.
 */
const follow: Read = async (deps, driver, asked, request, send, signal) => {
  let record: InstanceRecord | undefined = asked
  let { incarnation } = asked
  while (record && BEFORE_OUTPUT.has(record.phase.kind) && record.incarnation === incarnation && !signal.aborted) {
    await deps.clock.sleep(FOLLOW_POLL_MS, signal).catch(() => undefined)
    record = deps.record(request.instanceId)
    if (incarnation === 0) incarnation = record?.incarnation ?? 0
  }
  if (signal.aborted) return ok({ lostBytes: 0, incarnation })
  if (!record) return err(NOT_HERE)
  const ended = await readRun(driver, record, incarnation, request, send, signal)
  const another = record.incarnation > incarnation || TRIED_AGAIN.has(record.phase.kind)
  return !ended.ok && ended.error.code === 'not_found' && another ? ok({ lostBytes: 0, incarnation }) : ended
}

async function readRun(
  driver: Driver,
  record: InstanceRecord,
  incarnation: number,
  { follow, previous, tailLines, sinceMs }: LogsRequest,
  send: Emit,
  signal: AbortSignal,
): Promise<Result<RunEnd, Failure>> {
  if (incarnation < 1)
    return err(failure('not_found', previous ? 'There is no previous incarnation.' : 'It was never started, so there are no logs.'))
  // The nonce of an earlier incarnation is not kept.
  const nonce = incarnation === record.incarnation ? record.nonce : ''
  const target = { id: record.desired.id, incarnation, nonce }
  const ended = await caught(() => driver.logs(target, { follow, tailLines, sinceMs }, send, signal))
  return ended.ok ? ok({ lostBytes: ended.value.lostBytes, incarnation }) : ended
}

/** A driver's chunks as those of the link, none of them too large. Resolves when the last piece is on its way. */
function inPieces(hand: (chunk: ReplyChunk) => Promise<void>): Emit {
  return async ({ stream, data, atMs, lostBytes = 0 }) => {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    for (let from = 0; from === 0 || from < bytes.length; from += CHUNK_BYTES_MAX) {
      const piece = bytes.toString('base64', from, from + CHUNK_BYTES_MAX)
      await hand({ stream, data: piece, atMs, lostBytes: from === 0 ? lostBytes : 0 })
    }
  }
}

async function caught<T>(work: () => Promise<Result<T, Failure>>): Promise<Result<T, Failure>> {
  try {
    return await work()
  } catch (error) {
    return err(failure('internal', error instanceof Error ? error.message : String(error), {}, error))
  }
}

function refuse(record: InstanceRecord, driver: Driver, request: Extract<AgentRequest, { op: 'exec' | 'stats' }>): Failure | undefined {
  const { kind } = record.phase
  const living = kind === 'running' || kind === 'degraded' || kind === 'paused'
  if (request.op === 'exec' && !driver.can.exec) return failure('unsupported', `The ${driver.runtime} runtime cannot run commands inside.`)
  if (request.op === 'stats' && !driver.can.stats) return failure('unsupported', `The ${driver.runtime} runtime has no figures.`)
  return living ? undefined : failure('wrong_state', `It is ${kind}; it has to run.`, { state: kind })
}
