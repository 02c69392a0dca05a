// Errors of a history carry the command that helps, with the name to type.
import { expect, test } from 'vitest'
import { historyView } from './views.ts'

test('each error in a history says what to do about this very instance', () => {
  const error = { code: 'exited', detail: 'It ended.', atMs: 5 } as const
  const attempt = {
    incarnation: 1,
    attempt: 1,
    reason: 'process_dead',
    startedAtMs: 1,
    endedAtMs: 5,
    trigger: 'automatic',
    by: null,
    dataLoss: false,
    outcome: 'failure',
    error,
  } as const
  const to = { kind: 'recovering', reason: 'process_dead', sinceMs: 5, attempt: 1, lastError: error, nextAttemptAtMs: 9 } as const
  const transition = { seq: 1, atMs: 5, from: 'running', to, incarnation: 1, exit: null, generation: 1 } as const
  const { attempts, transitions } = historyView('web', [attempt], [transition])
  const next = 'Read holdfast logs web, or with --previous those of the run before.'
  expect([attempts[0]?.error?.next, transitions[0]?.error?.next]).toEqual([next, next])
})
