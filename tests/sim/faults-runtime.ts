// What befalls the runtime of a node.
import type { FakeVerb } from '../../src/agent/drivers/fake/fake-driver.ts'
import { type ErrorCode, failure } from '../../src/contracts/errors.ts'
import { type Fault, forAWhile, onNode } from './fault.ts'

const simulated = (code: ErrorCode) => failure(code, 'simulated', {})

const nextCalls = (
  verb: FakeVerb,
  codes: readonly ErrorCode[],
  how: 'before' | 'after' | 'hang' = 'before',
  timesMax = 3,
): Fault['inject'] =>
  onNode((node, given) => {
    const times = given.chance.whole(1, timesMax)
    const error = simulated(given.chance.pick(codes) ?? 'runtime_error')
    if (how === 'hang') node.runtime.hangNext(verb, times)
    else if (how === 'after') node.runtime.failAfterNext(verb, error, times)
    else node.runtime.failNext(verb, error, times)
    given.hit()
  })

export const RUNTIME_FAULTS = {
  runtime_down: {
    weight: 4,
    inject: forAWhile(1000, 180_000, (node) => {
      node.runtime.reachable(false)
      return () => node.runtime.reachable(true)
    }),
  },
  runtime_down_and_deaths: {
    weight: 2,
    inject: forAWhile(1000, 90_000, (node, { world, chance }) => {
      node.runtime.reachable(false)
      world.ledger.byTheWorld(() => {
        for (const id of node.ids()) if (chance.happens(0.3)) node.runtime.exit(id, { signal: 'SIGKILL' })
      })
      return () => node.runtime.reachable(true)
    }),
  },
  runtime_slow: {
    weight: 3,
    inject: forAWhile(5000, 120_000, (node, { chance }) => {
      node.mood.latencyMs = chance.between(200, 8000)
      return () => {
        node.mood.latencyMs = 3
      }
    }),
  },
  /** Ours, of a life that nobody remembers. */
  stray_left: {
    weight: 3,
    inject: onNode((node, { world, chance, hit }) => void (world.strangers.plant(node, true, chance) && hit())),
  },
  /** It looks like ours and is not. */
  stranger_left: {
    weight: 2,
    inject: onNode((node, { world, chance, hit }) => void (world.strangers.plant(node, false, chance) && hit())),
  },
  events_lost: {
    weight: 3,
    inject: forAWhile(5000, 300_000, (node) => {
      node.mood.eventsLost = true
      return () => {
        node.mood.eventsLost = false
      }
    }),
  },
  listing_partial: {
    weight: 4,
    inject: forAWhile(5000, 180_000, (node, { chance }) => {
      const ids = node.ids()
      node.runtime.partialListings(true, chance.happens(0.5) ? undefined : ids.filter(() => chance.happens(0.5)))
      return () => node.runtime.partialListings(false)
    }),
  },
  listing_slow: {
    weight: 4,
    inject: forAWhile(60_000, 300_000, (node, { chance }) => {
      node.mood.listingMs = chance.between(1000, 25_000)
      return () => {
        node.mood.listingMs = 0
      }
    }),
  },
  listing_fails: { weight: 3, inject: nextCalls('list', ['runtime_error', 'runtime_unreachable']) },
  listing_hangs: { weight: 2, inject: nextCalls('list', [], 'hang', 1) },
  inspect_fails: { weight: 3, inject: nextCalls('inspect', ['runtime_error', 'runtime_unreachable']) },
  inspect_hangs: { weight: 2, inject: nextCalls('inspect', [], 'hang', 1) },
  prepare_fails: { weight: 3, inject: nextCalls('prepare', ['image_pull_failed', 'runtime_error', 'runtime_unreachable']) },
  prepare_hangs: { weight: 1, inject: nextCalls('prepare', [], 'hang', 1) },
  start_fails: {
    weight: 5,
    inject: nextCalls('start', ['start_failed', 'port_in_use', 'runtime_error', 'runtime_unreachable'], 'before', 8),
  },
  starts_refused_for_a_while: {
    weight: 3,
    inject: forAWhile(30_000, 240_000, (node, { world, chance }) => {
      node.mood.refusesStarts = true
      world.ledger.byTheWorld(() => {
        for (const id of node.ids()) if (chance.happens(0.8)) node.runtime.exit(id, { signal: 'SIGKILL' })
      })
      return () => {
        node.mood.refusesStarts = false
      }
    }),
  },
  start_refused_for_good: { weight: 2, inject: nextCalls('start', ['command_not_found', 'image_not_found'], 'before', 1) },
  start_answer_lost: { weight: 4, inject: nextCalls('start', ['runtime_unreachable', 'runtime_error'], 'after') },
  start_hangs: { weight: 2, inject: nextCalls('start', [], 'hang', 1) },
  stop_fails: { weight: 3, inject: nextCalls('stop', ['runtime_error', 'runtime_unreachable']) },
  stop_answer_lost: { weight: 3, inject: nextCalls('stop', ['runtime_error', 'runtime_unreachable'], 'after') },
  stop_hangs: { weight: 2, inject: nextCalls('stop', [], 'hang', 1) },
  remove_fails: { weight: 2, inject: nextCalls('remove', ['runtime_error']) },
  remove_answer_lost: { weight: 2, inject: nextCalls('remove', ['runtime_error'], 'after') },
  pause_fails: { weight: 2, inject: nextCalls('pause', ['runtime_error']) },
  resume_fails: { weight: 2, inject: nextCalls('resume', ['runtime_error']) },
  probe_fails: { weight: 2, inject: nextCalls('probe', ['runtime_unreachable', 'socket_unreachable'], 'before', 5) },
} satisfies Record<string, Fault>
