// Towards stopped or deleted: stop every living object of ours, then (for deleted) remove the objects and what is kept on disk.
import type { Phase, Reason } from '../../contracts/phase.ts'
import type { Facts, Step } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'
import { common, currentExit, endEpisode, move, RETRY_EFFECT_MS, step, stopLiving, withError } from './moves.ts'

export function planGone(record: InstanceRecord, facts: Facts, towards: 'stopped' | 'deleted'): Step {
  const { phase } = record
  const { id } = record.desired
  if (phase.kind === 'deleted') return step(record, 'deleted is the end')
  if (phase.kind === towards) return planStillGone(record, facts)
  if (phase.kind !== 'stopping' || phase.towards !== towards) {
    const { record: closed, notes } = endEpisode(record, facts, 'cancelled')
    return step(move(closed, { kind: 'stopping', ...common(closed, facts, 'requested', null), towards }), `wished ${towards}`, { notes })
  }
  const { outcome, seen, nowMs } = facts
  if (outcome && !outcome.ok && outcome.failure.code !== 'cancelled')
    return step(withError(record, outcome.failure, nowMs), `${outcome.action} failed`, {
      wakeAtMs: nowMs + RETRY_EFFECT_MS,
      notes: [{ kind: 'error', code: outcome.failure.code }],
    })
  if (outcome?.action === 'forget')
    return step(move(record, { kind: 'deleted', ...common(record, facts, 'requested', null) }), 'nothing is left', {
      notes: [{ kind: 'gone', durationMs: nowMs - phase.sinceMs }],
    })
  // Also for one that this agent never started: its journal may be lost, and objects of that life may still be there. Only a shutdown does
  // not wait for those: what nobody here started is nothing that it could leave running.
  if (seen.kind === 'unknown' && (record.incarnation > 0 || !facts.shutdown))
    return step(because(record, phase, 'runtime_unreachable'), 'the runtime does not answer', { wakeAtMs: nowMs + RETRY_EFFECT_MS })
  if (phase.reason === 'runtime_unreachable') return step(because(record, phase, 'requested'), 'the runtime answers')
  const ours = seen.kind === 'unknown' ? [] : seen.objects.filter((object) => object.matches)
  const alive = ours.filter((object) => object.state === 'running' || object.state === 'paused')
  if (alive.length > 0) return stopLiving(record, facts, alive, 'something of it lives')
  const exit = currentExit(record, facts)
  if (towards === 'stopped') {
    const gone = { ...record, lastExit: exit, failures: 0, verified: false }
    return step(move(gone, { kind: 'stopped', ...common(gone, facts, 'requested', null), exit }), 'nothing of it runs')
  }
  if (ours.length > 0) return step(record, 'remove', { action: { kind: 'remove', id, objects: ours } })
  return step({ ...record, lastExit: exit }, 'forget', { action: { kind: 'forget', id } })
}

/** The same state with its reason; the same record when that is its reason already. */
const because = (record: InstanceRecord, phase: Phase, reason: Reason): InstanceRecord =>
  phase.reason === reason ? record : move(record, { ...phase, reason })

/** Stopped, but something of ours runs: a start that was under way, or somebody's own doing. It is wished stopped, so stop it. */
function planStillGone(record: InstanceRecord, facts: Facts): Step {
  if (facts.seen.kind === 'unknown' || record.phase.kind !== 'stopped') return step(record, 'as wished')
  if (facts.outcome && !facts.outcome.ok)
    return step(record, 'the stop failed', {
      wakeAtMs: facts.nowMs + RETRY_EFFECT_MS,
      notes: [{ kind: 'error', code: facts.outcome.failure.code }],
    })
  const alive = facts.seen.objects.filter((object) => object.matches && (object.state === 'running' || object.state === 'paused'))
  if (alive.length === 0) return step(record, 'as wished')
  return stopLiving(record, facts, alive, 'something of it runs although it is wished stopped')
}
