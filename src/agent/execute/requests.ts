// Questions from people that the control plane passes on: logs, exec, stats. They look at or into an instance and change no state.
import type { Clock } from '../../base/clock.ts'
import { err, type Result } from '../../base/result.ts'
import type { AgentRequest, ReplyChunk, Stats } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { GarbageReport } from '../../contracts/garbage.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Runtime } from '../../contracts/spec.ts'
import { CHUNK_BYTES_MAX } from '../../contracts/stream-window.ts'
import type { Driver, Emit } from '../drivers/driver.ts'
import type { InstanceRecord } from '../model/record.ts'
import { readEvidence } from './evidence.ts'
import type { EvidenceFiles } from './evidence-files.ts'
import { guard } from './execute.ts'

export interface Answer {
  readonly error: Failure | null
  readonly exitCode: number | null
  readonly stats: Stats | null
  readonly lostBytes: number | null
  readonly gc?: GarbageReport
}

const NOTHING: Answer = { error: null, exitCode: null, stats: null, lostBytes: null }

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
  if (!record) return { ...NOTHING, error: failure('not_found', 'This node does not have the instance.') }
  const { runtime } = record.desired.spec
  const driver = deps.drivers.get(runtime)
  if (!driver) return { ...NOTHING, error: failure('runtime_unavailable', `This node has no ${runtime} runtime.`) }
  const refused = refuse(record, driver, request)
  if (refused) return { ...NOTHING, error: refused }
  const target = {
    id: record.desired.id,
    incarnation: record.incarnation - (request.op === 'logs' && request.previous ? 1 : 0),
    nonce: request.op === 'logs' && request.previous ? '' : record.nonce,
  }
  const send = inPieces(hand)
  switch (request.op) {
    case 'logs': {
      const ended = await caught(() =>
        driver.logs(target, { follow: request.follow, tailLines: request.tailLines, sinceMs: request.sinceMs }, send, signal),
      )
      return ended.ok ? { ...NOTHING, lostBytes: ended.value.lostBytes } : { ...NOTHING, error: ended.error }
    }
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

type OfInstance = Exclude<AgentRequest, { op: 'gc' | 'purge' }>

function refuse(record: InstanceRecord, driver: Driver, request: OfInstance): Failure | undefined {
  const { kind } = record.phase
  const living = kind === 'running' || kind === 'degraded' || kind === 'paused'
  if (request.op === 'logs') {
    const wanted = record.incarnation - (request.previous ? 1 : 0)
    return wanted >= 1
      ? undefined
      : failure('not_found', request.previous ? 'There is no previous incarnation.' : 'It was never started, so there are no logs.')
  }
  if (request.op === 'exec' && !driver.can.exec) return failure('unsupported', `The ${driver.runtime} runtime cannot run commands inside.`)
  if (request.op === 'stats' && !driver.can.stats) return failure('unsupported', `The ${driver.runtime} runtime has no figures.`)
  return living ? undefined : failure('wrong_state', `It is ${kind}; it has to run.`, { state: kind })
}
