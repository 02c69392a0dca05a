// Relations between limits of different processes; those inside one are asserted where they stand.
import { expect, test } from 'vitest'
import { LIMITS as AGENT } from '../src/agent/limits.ts'
import { LINK_LIMITS } from '../src/agent/link/limits.ts'
import { LIMITS as CONTROL } from '../src/control/limits.ts'
import { LOOPS_DEFAULTS } from '../src/control/loops/deps.ts'
import { SESSION_LIVE_MS } from '../src/control/store/session-fold.ts'

test('an agent that speaks at every heartbeat is never taken for silent, even when one of them is late', () => {
  for (const silentMs of [CONTROL.linkSilenceMs, SESSION_LIVE_MS, LOOPS_DEFAULTS.nodeSilentMs])
    expect(silentMs).toBeGreaterThan(2 * LINK_LIMITS.heartbeatMs + CONTROL.linkHeartbeatWriteMs)
})

test('an agent that lost its connection has dialled again before its node counts as lost', () => {
  const noticedMs = LINK_LIMITS.silentHeartbeatsMax * LINK_LIMITS.heartbeatMs
  expect(noticedMs).toBeLessThanOrEqual(CONTROL.linkSilenceMs)
  expect(LOOPS_DEFAULTS.nodeSilentMs).toBeGreaterThan(noticedMs)
})

test('the control plane waits longer for figures of an instance than its agent takes for them', () => {
  expect(CONTROL.statsMs).toBeGreaterThanOrEqual(AGENT.statsDeadlineMs)
})
