// What `up MANIFEST` shows while it runs: a table that is redrawn in place on a terminal, one line per change anywhere else. It asks the
// API as any client does, a few times a second; what happened between two looks shows as the run number that rose.
import type { Client } from '../../client/client.ts'
import type { EnvStatusView, InstanceView } from '../../contracts/views.ts'
import type { Core } from '../core.ts'
import { envLine } from '../render/env.ts'
import { oneLine, timeOfDay, until } from '../render/human.ts'
import { instanceTable, stateText } from '../render/instance.ts'
import { type Paint, painter } from '../render/paint.ts'
import { cutTo } from '../render/table.ts'
import { collect } from '../session.ts'

const LOOK_EVERY_MS = 500
/** More replicas than any manifest can ask for; the table shows as many as fit on the screen. */
const REPLICAS_MAX = 10_000

export interface Snapshot {
  readonly env: EnvStatusView
  readonly instances: readonly InstanceView[]
}

/** Shows until aborted. What it cannot read now it reads at the next look. */
export async function showLive(core: Core, client: Client, first: EnvStatusView, hint: string, signal: AbortSignal): Promise<void> {
  const screen = core.out.isTty ? redrawing(core, hint) : lines(core)
  while (!signal.aborted) {
    const now = await snapshot(client, first, signal)
    if (now !== undefined && !signal.aborted) await screen(now)
    await core.clock.sleep(LOOK_EVERY_MS, signal).catch(() => undefined)
  }
}

export async function snapshot(client: Client, first: EnvStatusView, signal: AbortSignal): Promise<Snapshot | undefined> {
  const envs = await client.call('listEnvs', { query: { app: first.app, limit: 200 }, signal })
  const env = envs.ok ? envs.value.items.find((each) => each.id === first.id) : undefined
  if (env === undefined) return undefined
  const listed = await collect(REPLICAS_MAX, (query) => client.call('listInstances', { query: { ...query, env_id: first.id }, signal }))
  return listed.ok ? { env, instances: listed.value.items.toSorted((a, b) => (a.name < b.name ? -1 : 1)) } : undefined
}

const CLEAR_SCREEN = '\u001b[2J\u001b[H'

function redrawing(core: Core, hint: string): (now: Snapshot) => Promise<void> {
  const paint = painter(!core.env.NO_COLOR)
  let drawn = 0
  let last = ''
  let width = core.out.columns()
  return async (now) => {
    const columns = core.out.columns()
    const frame = tableFrame(now, columns, core.out.rows(), core.clock.wallMs(), hint, paint)
    if (frame.join('\n') === last) return
    last = frame.join('\n')
    // Up over the last frame, then clear to the end of the screen: what scrolled by before stays where it is. Without line wrap, so that
    // a line is a line also where a table could not be made narrow enough. A terminal whose width has changed has broken our lines anew, and
    // nobody knows where the frame begins: then the whole screen is cleared.
    const up = columns !== width ? CLEAR_SCREEN : drawn > 0 ? `\u001b[${drawn}A` : ''
    width = columns
    drawn = frame.length
    await core.out.write(`\u001b[?7l${up}\r\u001b[J${frame.join('\n')}\n\u001b[?7h`)
  }
}

/** Never higher than the screen: the cursor cannot go up beyond its top. */
export function tableFrame(now: Snapshot, columns: number, rows: number, nowMs: number, hint: string, paint: Paint): readonly string[] {
  const table = instanceTable(now.instances, columns, nowMs, paint).trimEnd().split('\n')
  const room = Math.max(2, rows - 4)
  const shown = table.length > room ? [...table.slice(0, room - 1), `… and ${table.length - room + 1} more`] : table
  return ['', paint('strong', cutTo(envLine(now.env), columns)), ...shown, paint('dim', cutTo(hint, columns))]
}

function lines(core: Core): (now: Snapshot) => Promise<void> {
  let before: readonly InstanceView[] = []
  let envBefore = ''
  return async (now) => {
    const nowMs = core.clock.wallMs()
    const time = timeOfDay(new Date(nowMs).toISOString())
    const env = envLine(now.env)
    const changes = [...changeLines(before, now.instances, nowMs), ...(env === envBefore ? [] : [env])]
    before = now.instances
    envBefore = env
    if (changes.length > 0) await core.out.write(`${changes.map((line) => `${time} ${line}`).join('\n')}\n`)
  }
}

/** One line per instance that is new, gone, or not as it was. */
export function changeLines(before: readonly InstanceView[], now: readonly InstanceView[], nowMs: number): readonly string[] {
  const known = new Map(before.map((each) => [each.id, each]))
  const left = new Set(now.map((each) => each.id))
  const changed = now.flatMap((each) => {
    const old = known.get(each.id)
    if (old !== undefined && stateText(old) === stateText(each) && old.incarnation === each.incarnation) return []
    return [changeLine(old, each, nowMs)]
  })
  return [...changed, ...before.filter((each) => !left.has(each.id)).map((each) => `${each.name} gone`)]
}

function changeLine(old: InstanceView | undefined, each: InstanceView, nowMs: number): string {
  const restarted = old !== undefined && old.incarnation > 0 && each.incarnation > old.incarnation
  const parts = [
    ...(restarted
      ? [`run ${each.incarnation}${each.last_exit === null ? '' : `, the one before ended: ${endedHow(each.last_exit)}`}`]
      : []),
    ...(SETTLED.has(each.state) ? [] : [each.reason]),
    ...(each.next_attempt_at === null ? [] : [`next attempt ${until(each.next_attempt_at, nowMs)}`]),
    ...(each.last_error === null || SETTLED.has(each.state) ? [] : [oneLine(each.last_error.detail)]),
  ]
  return `${each.name} ${stateText(each)}${parts.length === 0 ? '' : `: ${parts.join('; ')}`}`
}

const SETTLED: ReadonlySet<string> = new Set(['running', 'stopped', 'completed', 'deleted'])

const endedHow = (exit: NonNullable<InstanceView['last_exit']>): string =>
  exit.memory_limit_exceeded
    ? 'memory limit exceeded'
    : exit.signal !== null
      ? exit.signal
      : exit.code === null
        ? 'nobody saw how'
        : `exit code ${exit.code}`
