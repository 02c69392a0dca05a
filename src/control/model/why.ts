// Why an instance is as it is, in plain sentences, for a person at three in the morning: first the cause, then what is wished and
// what is, then what happens next and when. Pure: the same facts give the same words.
import type { Blocked } from '../../contracts/blocked.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { CheckStanding, Phase } from '../../contracts/phase.ts'
import type { ErrorView, WhyView } from '../../contracts/views.ts'
import { broughtBack, endCause, errorText, exitText } from './end-words.ts'
import type { HealRecord } from './heal.ts'
import { nextHealMs, restsBecause } from './heal-time.ts'
import type { InstanceRecord } from './instance.ts'
import { modesTexts, recoveryOf } from './modes.ts'
import type { NodeRecord } from './node.ts'
import { errorView, nextAttemptMs, timeOf } from './views.ts'
import { ago, inTime, spanText } from './words.ts'

export interface WhyFacts {
  readonly instance: InstanceRecord
  /** Its node; null when it has none, or the node is not known any more. */
  readonly node: NodeRecord | null
  /** The healer's work on it; null when there is none. */
  readonly heal: HealRecord | null
  /** Why the store takes no records at present; null when it does. */
  readonly storeBlocked: Failure | null
  /** How many nodes there are at all. */
  readonly nodesKnown: number
  readonly nowMs: number
}

interface Next {
  readonly text: string
  readonly atMs: number | null
}

export function explain(facts: WhyFacts): WhyView {
  const { instance } = facts
  const { phase } = instance
  const next = nextStep(facts)
  return {
    instance_id: instance.id,
    name: instance.name,
    summary: `${blocked(facts)}${unheard(instance) ?? cause(facts)}${silence(facts)}`,
    desired: desiredText(instance),
    observed: observedText(facts),
    difference: difference(facts),
    last_error: phase.lastError && withoutItself(errorView(phase.lastError, instance.name)),
    next: next.text,
    next_at: next.atMs === null ? null : timeOf(next.atMs),
    modes: [...modesTexts(instance)],
    nodes: instance.refusals.map(({ nodeId, refusedBy, detail }) => ({ node_id: nodeId, refused_by: refusedBy, detail })),
  }
}

/** Whoever reads this has asked why already. */
const withoutItself = (error: ErrorView): ErrorView => ({ ...error, next: error.next.replace(/; holdfast why [^.]*/, '') })

/** Nothing is recorded: what is known was true when the disk became full. Comes first, for nothing else goes on before it is mended. */
function blocked({ instance, storeBlocked }: WhyFacts): string {
  const given = instance.observed?.blocked
  const old = 'What follows is what was recorded last.'
  if (given) return `The disk of its node takes no records: ${given.code}, ${pathOf(given)}. ${old} `
  return storeBlocked ? `The database takes no records: ${sentence(storeBlocked.detail)} ${old} ` : ''
}

const pathOf = ({ detail, fields }: Blocked): string => (typeof fields?.path === 'string' ? fields.path : detail.replace(/\.$/, ''))

/** Somebody wished an end or a pause, and the node has not begun with it. */
function unheard({ want, phase, nodeId, observedGeneration, generation }: InstanceRecord): string | undefined {
  if (want === 'running' || nodeId === null || observedGeneration >= generation || SETTLED[want].has(phase.kind)) return undefined
  return `Somebody asked for it to be ${want}; node ${nodeId} has not acted on that yet.`
}

/** The first sentence: the cause, never the mere name of the state. */
function cause(facts: WhyFacts): string {
  const { instance, nowMs } = facts
  const { phase } = instance
  switch (phase.kind) {
    case 'pending':
      return pendingCause(facts)
    case 'placed':
      return `It was given to node ${instance.nodeId}, whose agent has not answered yet.`
    case 'preparing':
      return `It is being prepared for incarnation ${instance.incarnation}: room, ports${instance.spec.image === null ? '' : ` and the image ${instance.spec.image}`}${comesAfter(instance, nowMs)}.`
    case 'starting':
      return `Incarnation ${instance.incarnation} is being started${comesAfter(instance, nowMs)}.`
    case 'running':
      return runningCause(instance, nowMs)
    case 'degraded':
      return `It is alive but ${failingCheck(instance) ?? 'its checks fail'}; it is left running because nothing destructive is permitted without allow_data_loss.`
    case 'paused':
      return phase.reason === 'paused_outside'
        ? 'Somebody paused it with the tools of the runtime itself; Holdfast leaves it alone.'
        : 'It is paused, as somebody asked.'
    case 'stopping':
      return stoppingCause(phase)
    case 'stopped':
      return `It is stopped, as somebody asked${phase.exit === null ? '' : `; it ${exitText(phase.exit)}`}.`
    case 'recovering':
      return `${endCause(instance)}; it is being recovered, ${attemptsText(phase.attempt)}.`
    case 'crash_looping':
      return `It ends again and again shortly after its start: ${lower(endCause(instance))}, ${attemptsText(phase.attempt)}.`
    case 'quarantined':
      return phase.reason === 'crash_loop'
        ? `Holdfast stopped starting it ${ago(phase.sinceMs, nowMs)}, because it had ended ${phase.attempt} times in a short while, at last so: ${lower(endCause(instance))}.`
        : `Holdfast stopped trying ${ago(phase.sinceMs, nowMs)}: ${lower(endCause(instance))}, ${attemptsText(phase.attempt)}.`
    case 'failed':
      return failedCause(instance)
    case 'completed':
      return `It did its work and ended by itself: it ${exitText(phase.exit)}.`
    case 'lost':
      return `Its node ${instance.nodeId} has been silent for too long, so nobody knows how it is.`
    case 'deleted':
      return 'It is deleted; nothing of it is left on any node.'
    default:
      return phase satisfies never
  }
}

const comesAfter = (instance: InstanceRecord, nowMs: number): string => {
  const back = broughtBack(instance, nowMs)
  return back === undefined ? '' : `; ${back}`
}

function pendingCause({ instance, nodesKnown }: WhyFacts): string {
  const { refusals, phase } = instance
  if (nodesKnown === 0) return 'There is no node yet that could run it.'
  if (refusals.length === 0)
    return phase.lastError
      ? `It waits for a node: ${sentence(phase.lastError.detail)}`
      : 'It waits for a node; the scheduler looks at it in a moment.'
  const nodes = new Set(refusals.map((one) => one.nodeId))
  const [only] = refusals
  if (nodes.size === 1 && only)
    return `Its only candidate, node ${only.nodeId}, cannot take it: ${refusals.map((one) => one.detail).join('; ')}.`
  const dimensions = [...new Set(refusals.map((one) => one.refusedBy))].map((name) => {
    const count = new Set(refusals.filter((one) => one.refusedBy === name).map((one) => one.nodeId)).size
    return `${count} ${REFUSED[name] ?? `refuse for ${name}`}`
  })
  return `None of ${nodes.size} nodes can take it: ${dimensions.join(', ')}.`
}

const REFUSED: Readonly<Record<string, string>> = {
  memory: 'short of memory',
  offline: 'offline',
  cordoned: 'cordoned',
  runtime: 'without the runtime',
  selector: 'not selected by its labels',
  pressure: 'under pressure',
}

function runningCause(instance: InstanceRecord, nowMs: number): string {
  const health = instance.observed?.health ?? 'unknown'
  if (health === 'unhealthy') return `It runs, but ${failingCheck(instance) ?? 'its checks fail'}.`
  if (instance.phase.reason === 'waiting_for_checks' || health === 'starting') {
    const failing = failingCheck(instance)
    const after = comesAfter(instance, nowMs)
    // The engine's own check is not one that somebody waits for.
    if (!failing && instance.phase.reason !== 'waiting_for_checks' && instance.spec.health.length === 0)
      return `It runs since a moment ago and is not yet known to last${after}.`
    return `It runs and is not ready yet: ${failing ?? 'its checks have not passed yet'}${after}.`
  }
  const after = AFTER[instance.phase.reason] ?? broughtBack(instance, nowMs)
  return `It runs${health === 'healthy' ? ' and is healthy' : ''}${after === undefined ? '' : `; ${after}`}.`
}

const AFTER: Partial<Record<Phase['reason'], string>> = {
  adopted: 'it was found running when the agent started and kept',
  self_recovered: 'it came back by itself',
  healer: 'the control plane started it again',
  forced: 'it was recovered by hand',
}

function stoppingCause(phase: Extract<Phase, { kind: 'stopping' }>): string {
  const purpose = { stopped: 'as somebody asked', deleted: 'because it is being deleted', restart: 'to be started again' }[phase.towards]
  if (phase.reason === 'runtime_unreachable')
    return `It is being stopped, ${purpose}; its runtime does not answer, so nobody knows what of it is left.`
  const why = phase.reason === 'unhealthy_restart' ? ', because its checks failed and allow_data_loss permits it' : ''
  return `It is being stopped, ${purpose}${why}${phase.lastError ? `; the last try failed: ${phase.lastError.detail.replace(/\.$/, '')}` : ''}.`
}

function failedCause(instance: InstanceRecord): string {
  const { phase } = instance
  const said = phase.lastError ? errorText(phase.lastError) : null
  switch (phase.reason) {
    case 'permanent_error':
      return `${said ?? 'It cannot be started'}; trying again cannot mend that.`
    case 'recovery_off':
      return `${endCause(instance)}, and recovery is ${recoveryOf(instance) ?? 'off'} for it.`
    case 'exited_error':
      return `${endCause(instance)}, and its restart policy is ${instance.spec.restart}.`
    default:
      return `${said ?? 'It could not be started'}.`
  }
}

function failingCheck(instance: InstanceRecord): string | undefined {
  const failing = (instance.observed?.checks ?? []).filter((check) => check.passing === false)
  const worst = failing.reduce<CheckStanding | undefined>(
    (best, check) => (best && best.failuresInRow >= check.failuresInRow ? best : check),
    undefined,
  )
  if (!worst) return undefined
  const times = worst.failuresInRow > 1 ? `, ${worst.failuresInRow} times in a row` : ''
  return `its ${worst.kind} check ${worst.name} fails${times}: ${worst.lastDetail.replace(/\.$/, '') || 'no detail'}`
}

/** States whose word is the control plane's own: a silent node says nothing about them. */
const OURS: ReadonlySet<Phase['kind']> = new Set(['pending', 'placed', 'lost', 'deleted'])

function silence({ instance, node, nowMs }: WhyFacts): string {
  if (node === null || OURS.has(instance.phase.kind)) return ''
  if (node.connected) return runtimeAway(instance, node)
  return ` Its node ${node.id} is not connected (last heard ${ago(node.lastSeenAtMs, nowMs)}), so this is its last word.`
}

/** States in which nothing of it lives, so that no runtime has to say anything. */
const AT_REST: ReadonlySet<Phase['kind']> = new Set(['stopped', 'completed'])

/** What such a runtime said last may have changed since, and nothing can be done with it. */
function runtimeAway({ phase, spec }: InstanceRecord, { id, facts }: NodeRecord): string {
  const status = facts?.runtimes.find(({ runtime }) => runtime === spec.runtime)
  if (!status || status.usable || AT_REST.has(phase.kind)) return ''
  return ` The runtime ${spec.runtime} of its node ${id} cannot be used at present (${lower(status.detail.replace(/\.$/, ''))}), so this is its last word.`
}

function desiredText(instance: InstanceRecord): string {
  const { want, spec, membership: of, generation } = instance
  const wish = want === 'running' ? (spec.restart === 'never' ? 'It should run once' : 'It should be running') : `It should be ${want}`
  const member = of === null ? '' : `, as replica ${of.slot} of ${of.processType} in ${of.app}/${of.env}`
  return `${wish}${member} (generation ${generation}).`
}

function observedText({ instance, nowMs }: WhyFacts): string {
  const { phase, observed, nodeId, incarnation, observedGeneration, generation } = instance
  const where = [nodeId === null ? '' : ` on node ${nodeId}`, incarnation > 0 ? `, incarnation ${incarnation}` : '']
  const health = observed && observed.health !== 'unknown' && phase.kind === 'running' ? `, ${observed.health}` : ''
  const last = observed?.lastExit ? ` Last end: it ${exitText(observed.lastExit)}.` : ''
  const lag =
    nodeId !== null && observedGeneration > 0 && observedGeneration < generation
      ? ` Its node has answered generation ${observedGeneration} so far.`
      : ''
  return `State ${phase.kind} for ${spanText(nowMs - phase.sinceMs)}${where.join('')}${health}.${last}${lag}`
}

const SETTLED: Readonly<Record<InstanceRecord['want'], ReadonlySet<Phase['kind']>>> = {
  running: new Set(['running', 'completed']),
  stopped: new Set(['stopped', 'completed', 'failed']),
  paused: new Set(['paused']),
  deleted: new Set(['deleted']),
}

/** null when there is none. */
function difference({ instance }: WhyFacts): string | null {
  const { want, phase } = instance
  if (SETTLED[want].has(phase.kind)) {
    if (phase.kind === 'running' && instance.observed?.health === 'unhealthy') return 'It should be healthy and is not.'
    if (instance.nodeId !== null && instance.observedGeneration < instance.generation)
      return 'Its node has not acted on the newest wish yet.'
    return null
  }
  return `It should be ${want} and is ${STATE_WORDS[phase.kind] ?? phase.kind}.`
}

const STATE_WORDS: Partial<Record<Phase['kind'], string>> = {
  crash_looping: 'crash looping',
  degraded: 'failing its checks',
  placed: 'not started yet',
}

function nextStep(facts: WhyFacts): Next {
  const { instance, nowMs, node } = facts
  const { phase, want, name } = instance
  const given = instance.observed?.blocked
  if (given) return none(`Nothing before ${pathOf(given)} can be written: free space on its file system, then it goes on by itself.`)
  const at = nextAttemptMs(phase)
  if (want === 'deleted' && phase.kind !== 'deleted')
    return node !== null && !node.connected
      ? none('It is removed as soon as its node is connected again.')
      : none(phase.reason === 'runtime_unreachable' ? ASKS_AGAIN : 'Its node stops it and removes what is left of it.')
  switch (phase.kind) {
    case 'pending':
      return none(
        `It is placed as soon as a node has room for it${instance.refusals.length > 0 ? ': free some, uncordon or add a node, or ask for less' : ''}.`,
      )
    case 'placed':
      return none(
        node !== null && !node.connected ? `It starts when the agent of ${node.id} is connected again.` : 'Its node starts it in a moment.',
      )
    case 'preparing':
    case 'starting':
      return none('The start goes on; a failure is tried again with growing pauses, unless trying again cannot help.')
    case 'running':
      return none(runningNext(facts))
    case 'degraded':
      return none(`Nothing by itself: it counts as healthy again when its check passes. holdfast restart ${name} restarts it.`)
    case 'paused':
      return none(
        phase.reason === 'paused_outside'
          ? `Nothing by itself: let it go on with the same tools, or holdfast restart ${name}.`
          : `holdfast resume ${name} lets it go on.`,
      )
    case 'stopping':
      if (phase.reason === 'runtime_unreachable') return none(ASKS_AGAIN)
      return none(`It gets ${spanText(instance.spec.stop.graceMs)} to end, then it is killed.`)
    case 'stopped':
      return none(want === 'running' ? 'Its node starts it in a moment.' : `Nothing, until somebody starts it: holdfast start ${name}.`)
    case 'recovering':
    case 'crash_looping':
      if (instance.observed?.waits)
        return none(`Its next attempt ${instance.observed.waits.detail}; holdfast recover ${name} makes it now.`)
      return { text: `The next attempt is due ${inTime(at ?? nowMs, nowMs)}; holdfast recover ${name} makes it now.`, atMs: at }
    case 'quarantined':
      if (instance.observed?.waits) return none(`Its trial start ${instance.observed.waits.detail}; holdfast recover ${name} makes it now.`)
      return {
        text: `One trial start ${inTime(at ?? nowMs, nowMs)}; correct the cause, then holdfast recover ${name} starts it now.`,
        atMs: at,
      }
    case 'failed':
      return healStep(facts)
    case 'completed':
      return none(`Nothing: it is done. holdfast restart ${name} runs it once more.`)
    case 'lost':
      return lostStep(facts)
    case 'deleted':
      return none('Nothing: its record is kept for some days.')
    default:
      return phase satisfies never
  }
}

const ASKS_AGAIN = 'Its node asks the runtime again every few seconds, and goes on when that answers: holdfast doctor names what it needs.'

const none = (text: string): Next => ({ text, atMs: null })

function runningNext({ instance, node }: WhyFacts): string {
  if (node !== null && !node.connected) return 'Its node goes on by itself; there is news when its agent is connected again.'
  if (instance.observed?.health === 'unhealthy')
    return `If the check keeps failing it is recovered; holdfast logs ${instance.name} shows what it says.`
  if (instance.phase.reason === 'waiting_for_checks') return 'It is ready as soon as its checks pass.'
  return 'Nothing: it is watched, and started again when it ends.'
}

function healStep({ instance, heal, nowMs }: WhyFacts): Next {
  const { name, phase } = instance
  const because = restsBecause(instance, heal)
  switch (because) {
    case 'not_wished':
      return none('Nothing: it is not wished running.')
    case 'recovery_off':
      return none(`Nothing by itself, because recovery is ${recoveryOf(instance) ?? 'off'}: holdfast start ${name} starts it.`)
    case 'ran_once':
      return none(
        `Nothing: what is run once is not run again by itself. Read holdfast logs ${name}; holdfast restart ${name} runs it once more.`,
      )
    case 'permanent': {
      const mend = phase.lastError ? withoutItself(errorView(phase.lastError, name)).next : 'Correct the cause.'
      return none(`Nothing by itself. ${mend}${mend.includes('holdfast recover') ? '' : ` To try again: holdfast recover ${name}.`}`)
    }
    case 'given_up':
      return none(
        `Nothing by itself: the control plane gave up after ${heal?.attempts ?? 0} attempts. Correct the cause, then: holdfast recover ${name}.`,
      )
    case null: {
      const atMs = nextHealMs(instance, heal) ?? nowMs
      const attempt = heal && heal.generation >= instance.generation ? heal.attempts + 1 : 1
      return {
        text: `The control plane tries again ${inTime(atMs, nowMs)} (attempt ${attempt}); holdfast recover ${name} makes it now.`,
        atMs,
      }
    }
    default:
      return because satisfies never
  }
}

function lostStep({ instance, node }: WhyFacts): Next {
  const back = `When the agent of ${node?.id ?? instance.nodeId} is connected again, its word replaces this.`
  return none(`${back} It is not started elsewhere while it may still run there.`)
}

const attemptsText = (count: number) => (count === 0 ? 'no attempt yet' : count === 1 ? '1 attempt so far' : `${count} attempts so far`)
const sentence = (text: string) => (text.endsWith('.') ? text : `${text}.`)
const lower = (text: string) => (/^[A-Z][a-z]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text)
