import { expect, test } from 'vitest'
import { instanceId, phaseOf } from '../../../tests/support/control-records.ts'
import { ManualClock, settle } from '../../../tests/support/manual-clock.ts'
import { observedOf, transitionOf } from '../../../tests/support/store-seeds.ts'
import { err, ok } from '../../base/result.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import { failure } from '../../contracts/errors.ts'
import { createObservedWriter } from './link-observed.ts'

test('a write holds each instance once, with its newest word and all that led there, and the same again when its answer was lost', async () => {
  const clock = new ManualClock()
  const written: (readonly Observed[])[] = []
  const writer = createObservedWriter({
    write: async (items) => {
      written.push(items)
      return written.length === 2 ? err(failure('store_unavailable', 'the answer was lost')) : ok([])
    },
    ack() {},
    onFenced() {},
    onRetry() {},
    clock,
    signal: new AbortController().signal,
    batchMax: 10,
    queueMax: 100,
    retryMs: 500,
  })
  const [one, two] = [instanceId(1), instanceId(2)]
  const said = (id: typeof one, kind: 'starting' | 'running', seqs: readonly number[]) =>
    observedOf(id, { phase: phaseOf(kind), transitions: seqs.map((seq) => transitionOf(seq, null, kind)) })
  void writer.add([said(two, 'starting', [1])])
  void writer.add([said(one, 'starting', [1, 2]), said(two, 'running', [2]), said(one, 'running', [2, 3])])
  await clock.advance(1000)
  await settle()
  const told = written.map((items) => items.map(({ id, phase, transitions }) => [id, phase.kind, transitions.map(({ seq }) => seq)]))
  expect(told[1]).toEqual([
    [one, 'running', [1, 2, 3]],
    [two, 'running', [2]],
  ])
  expect(told[2]).toEqual(told[1])
  expect(told).toHaveLength(3)
})
