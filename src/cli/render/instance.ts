// How instances look: the table row, the full page, the receipt. Only types come from contracts, so this stays light.
import type { HistoryView, InstanceView, WhyView } from '../../contracts/views.ts'
import { absolute, ago, bytes, harmless, oneLine, shortSpan, when } from './human.ts'
import { modeText } from './modes.ts'
import { type Paint, type Shade, shadeOf } from './paint.ts'
import { type Column, facts, table } from './table.ts'

type AddressLike = InstanceView['addresses'][number]

export const addressText = (address: AddressLike): string => {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return `${host}:${address.port}${address.protocol === 'tcp' ? '' : `/${address.protocol}`}`
}

/** State and health in one word or two: `running (healthy)`. */
export function stateText(instance: InstanceView): string {
  const { state, health, blocked } = instance
  if (blocked !== null) return `${state} (${blocked.code.replaceAll('_', ' ')})`
  return (state === 'running' || state === 'degraded') && health.status !== 'unknown' ? `${state} (${health.status})` : state
}

function stateShade({ state, health, blocked }: InstanceView): Shade {
  if (blocked !== null) return 'bad'
  return state === 'running' && (health.status === 'unhealthy' || health.status === 'starting') ? shadeOf(health.status) : shadeOf(state)
}

export function instanceTable(items: readonly InstanceView[], width: number, nowMs: number, paint: Paint): string {
  const columns: readonly Column<InstanceView>[] = [
    { head: 'NAME', cell: (each) => each.name, shrinksTo: 16 },
    { head: 'STATE', cell: stateText, shade: stateShade },
    { head: 'SINCE', cell: (each) => ago(each.since, nowMs), right: true, spare: true },
    { head: 'RUNS', cell: (each) => String(each.incarnation), right: true, spare: true },
    { head: 'RUNTIME', cell: (each) => each.runtime, spare: true },
    { head: 'ADDRESS', cell: (each) => each.addresses.map(addressText).join(' '), shrinksTo: 15 },
    { head: 'NODE', cell: (each) => each.node_id ?? '-', shrinksTo: 6, spare: true },
    { head: 'ID', cell: (each) => each.id, shade: () => 'dim', shrinksTo: 14, spare: true },
  ]
  return table(items, columns, width, paint)
}

const pairs = (map: Readonly<Record<string, string>>): string =>
  Object.entries(map)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => oneLine(`${key}=${value}`))
    .join('\n')

type ErrorLike = NonNullable<InstanceView['last_error']>
/** A sentence inside of another one: without its full stop. */
export const errorText = (error: ErrorLike): string => `${error.code}: ${oneLine(error.detail || error.message).replace(/\.$/, '')}`

export function exitText(exit: NonNullable<InstanceView['last_exit']>, nowMs: number): string {
  const how = exit.memory_limit_exceeded
    ? 'memory limit exceeded'
    : exit.signal !== null
      ? `killed by ${exit.signal}`
      : exit.code !== null
        ? `exit code ${exit.code}`
        : 'unknown: nobody was there to see it'
  return `${how}, ${when(exit.at, nowMs)}`
}

export function instancePage(each: InstanceView, width: number, nowMs: number, paint: Paint): string {
  const lines = (text: string) => text.split('\n').join(`\n${' '.repeat(14)}`)
  const main = facts(
    [
      ['name', each.name],
      ['id', each.id],
      ['state', `${paint(shadeOf(each.state), stateText(each))} since ${when(each.since, nowMs)}`],
      ['reason', each.reason],
      ['wanted', each.desired.state],
      ['attempt', each.attempt > 0 ? String(each.attempt) : ''],
      ['next attempt', each.next_attempt_at === null ? '' : when(each.next_attempt_at, nowMs)],
      [
        'last error',
        each.last_error === null
          ? ''
          : `${paint('bad', errorText(each.last_error))}${each.last_error.at === null ? '' : `, ${when(each.last_error.at, nowMs)}`}`,
      ],
      ['what to do', each.last_error === null ? '' : oneLine(each.last_error.next)],
      ['last exit', each.last_exit === null ? '' : exitText(each.last_exit, nowMs)],
      ['runtime', each.runtime],
      ['command', commandText(each.desired.spec)],
      ['limits', limitsText(each.desired.spec)],
      ['process', each.pid === null ? '' : `pid ${each.pid}, incarnation ${each.incarnation}`],
      ['node', each.node_id],
      ['app', each.app === null ? '' : `${each.app} ${each.env ?? ''} ${each.process_type ?? ''}`.trim()],
      ['addresses', lines(each.addresses.map((address) => `${addressText(address)} (${address.name})`).join('\n'))],
      ['recovery', modeText(each.modes.recovery)],
      ['checked', modeText(each.modes.health_checks)],
      ['labels', lines(pairs(each.labels))],
      ['metadata', lines(pairs(each.metadata))],
      ['notes', lines(each.notes.map(oneLine).join('\n'))],
      ['version', String(each.version)],
      ['created', when(each.created_at, nowMs)],
      ['updated', when(each.updated_at, nowMs)],
    ],
    paint,
  )
  const parts = [main]
  if (each.health.checks.length > 0) parts.push(checksTable(each, width, nowMs, paint))
  if (each.cloud_init !== null) parts.push(cloudInitText(each.cloud_init, paint))
  return parts.join('\n')
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

function commandText(spec: Readonly<Record<string, unknown>>): string {
  const { command, image } = spec
  const words = Array.isArray(command)
    ? command.map((word) => (/^[A-Za-z0-9_./:=@%+-]+$/.test(String(word)) ? String(word) : JSON.stringify(word)))
    : []
  return oneLine([textOf(image), ...words].filter(Boolean).join(' '))
}

function limitsText(spec: Readonly<Record<string, unknown>>): string {
  const { memory, memory_bytes, memoryBytes, cpu, cpuMillis } = spec
  const size = [memory_bytes, memoryBytes].find((value) => typeof value === 'number')
  const share = typeof cpu === 'number' ? cpu : typeof cpuMillis === 'number' ? cpuMillis / 1000 : undefined
  const texts = [
    typeof size === 'number' ? `memory ${bytes(size)}` : textOf(memory) && `memory ${textOf(memory)}`,
    share === undefined ? '' : `cpu ${share}`,
  ]
  return texts.filter(Boolean).join(', ')
}

function checksTable(each: InstanceView, width: number, nowMs: number, paint: Paint): string {
  type Row = InstanceView['health']['checks'][number]
  const verdict = (row: Row) => (row.passing === null ? 'unknown' : row.passing ? 'passing' : 'failing')
  const columns: readonly Column<Row>[] = [
    { head: 'CHECK', cell: (row) => row.name },
    { head: 'KIND', cell: (row) => row.kind },
    { head: 'VERDICT', cell: verdict, shade: (row) => (row.passing === null ? 'dim' : row.passing ? 'good' : 'bad') },
    { head: 'IN A ROW', cell: (row) => String(row.passing === false ? row.failures_in_row : row.successes_in_row), right: true },
    { head: 'AS OF', cell: (row) => (row.last_at === null ? '-' : `${ago(row.last_at, nowMs)} ago`) },
    { head: 'SAID', cell: (row) => row.last_detail, shrinksTo: 20 },
  ]
  return table(each.health.checks, columns, width, paint)
}

function cloudInitText(status: NonNullable<InstanceView['cloud_init']>, paint: Paint): string {
  const steps = status.steps.map((step) => {
    const outcome = step.ok ? paint('good', 'ok') : paint('bad', `failed${step.exit_code === null ? '' : ` (exit code ${step.exit_code})`}`)
    const said = step.output === '' ? '' : `\n    ${harmless(step.output.trimEnd()).split('\n').join('\n    ')}`
    return `  ${oneLine(step.step)}: ${outcome}${said}`
  })
  const unsupported = status.unsupported.length === 0 ? [] : [`  not supported here: ${status.unsupported.map(oneLine).join(', ')}`]
  return `${[`cloud-init: ${status.done ? 'done' : 'running'}`, ...steps, ...unsupported].join('\n')}\n`
}

export function whyText(why: WhyView, paint: Paint): string {
  const next = why.next_at === null ? '' : ` (${absolute(why.next_at)})`
  const lines = [
    paint('strong', oneLine(why.summary)),
    '',
    `desired:    ${oneLine(why.desired)}`,
    `observed:   ${oneLine(why.observed)}`,
    ...(why.difference === null ? [] : [`difference: ${oneLine(why.difference)}`]),
    ...(why.last_error === null
      ? []
      : [`last error: ${paint('bad', errorText(why.last_error))}`, `what to do: ${oneLine(why.last_error.next)}`]),
    `next:       ${oneLine(why.next)}${next}`,
    `in force:   ${why.modes.map(oneLine).join(' ')}`,
    ...(why.nodes.length === 0
      ? []
      : ['', 'nodes:', ...why.nodes.map((node) => `  ${node.node_id}: ${node.refused_by}: ${oneLine(node.detail)}`)]),
  ]
  return `${lines.join('\n')}\n`
}

export function historyText(history: HistoryView, width: number, nowMs: number, paint: Paint): string {
  type Step = HistoryView['transitions'][number]
  type Try = HistoryView['attempts'][number]
  // Each row carries the last end there was; it is news only where it differs from the row before.
  const fresh = new Set(history.transitions.filter((row, at) => row.exit?.at !== history.transitions[at - 1]?.exit?.at))
  const steps: readonly Column<Step>[] = [
    { head: 'TIME', cell: (row) => absolute(row.at) },
    { head: 'AGO', cell: (row) => ago(row.at, nowMs), right: true, spare: true },
    { head: 'RUN', cell: (row) => String(row.incarnation), right: true },
    { head: 'FROM', cell: (row) => row.from ?? '-', spare: true },
    { head: 'TO', cell: (row) => row.to, shade: (row) => shadeOf(row.to) },
    { head: 'REASON', cell: (row) => row.reason, shrinksTo: 8 },
    {
      head: 'ERROR',
      cell: (row) => (row.error === null ? (row.exit === null || !fresh.has(row) ? '-' : exitWord(row.exit)) : errorText(row.error)),
      shrinksTo: 8,
    },
  ]
  const tries: readonly Column<Try>[] = [
    { head: 'STARTED', cell: (row) => absolute(row.started_at) },
    { head: 'RUN', cell: (row) => String(row.incarnation), right: true },
    { head: 'ATTEMPT', cell: (row) => String(row.attempt), right: true, spare: true },
    { head: 'REASON', cell: (row) => row.reason, shrinksTo: 8 },
    { head: 'TRIGGER', cell: triggerText, shrinksTo: 6, spare: true },
    { head: 'OUTCOME', cell: (row) => row.outcome, shade: (row) => (row.outcome === 'failure' ? 'bad' : undefined) },
    {
      head: 'TOOK',
      cell: (row) => (row.duration_ms === null ? '-' : shortSpan(row.duration_ms)),
      right: true,
      spare: true,
    },
    { head: 'ERROR', cell: (row) => (row.error === null ? '-' : errorText(row.error)), shrinksTo: 7 },
  ]
  const parts = [
    ...(history.transitions.length === 0 ? [] : [`transitions\n${table(history.transitions, steps, width, paint)}`]),
    ...(history.attempts.length === 0 ? [] : [`attempts\n${table(history.attempts, tries, width, paint)}`]),
  ]
  return parts.length === 0 ? 'nothing has happened yet\n' : parts.join('\n')
}

/** `forced by token:ann`; a life that was ended although it lived is said so. */
const triggerText = ({ trigger, by, data_loss_permitted }: HistoryView['attempts'][number]): string =>
  `${trigger}${by === null ? '' : ` by ${oneLine(by)}`}${data_loss_permitted ? ', data loss permitted' : ''}`

const exitWord = (exit: NonNullable<HistoryView['transitions'][number]['exit']>): string =>
  exit.memory_limit_exceeded
    ? 'memory limit exceeded'
    : exit.signal !== null
      ? exit.signal
      : exit.code !== null
        ? `exit code ${exit.code}`
        : 'exit unknown'

/** What was accepted, its id, and the next command. */
export const receipt = (what: string, each: Pick<InstanceView, 'name' | 'id'>): string => `${what} ${oneLine(each.name)} (${each.id})\n`
