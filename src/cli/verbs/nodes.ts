import { ok } from '../../base/result.ts'
import { blockedText } from '../../contracts/blocked.ts'
import type { NodeView } from '../../contracts/views.ts'
import { EXIT } from '../exit.ts'
import { ago, bytes, oneLine, percent, when } from '../render/human.ts'
import type { Paint } from '../render/paint.ts'
import { shadeOf } from '../render/paint.ts'
import { type Column, facts, table } from '../render/table.ts'
import { collect, connect, LIST_LIMIT, moreNote } from '../session.ts'
import { type ListedVerb, verb } from '../verb.ts'

const MISSING = 'Look it up with holdfast nodes.'

const room = (node: NodeView): string => `${bytes(node.reserved_memory_bytes)} of ${bytes(node.allocatable_memory_bytes)}`
const usable = (node: NodeView): string =>
  node.runtimes
    .filter((runtime) => runtime.usable)
    .map((runtime) => runtime.runtime)
    .join(' ')

const stateText = ({ state, blocked }: NodeView): string =>
  blocked === null ? state : `${state} (${blocked.instances} wait: ${blocked.code.replaceAll('_', ' ')})`

export const nodeTable = (nodes: readonly NodeView[], width: number, nowMs: number, paint: Paint): string => {
  const columns: readonly Column<NodeView>[] = [
    { head: 'NODE', cell: (node) => node.id, shrinksTo: 12 },
    { head: 'STATE', cell: stateText, shade: (node) => (node.blocked === null ? shadeOf(node.state) : 'bad') },
    { head: 'SEEN', cell: (node) => (node.connected ? 'now' : `${ago(node.last_seen_at, nowMs)} ago`) },
    { head: 'INSTANCES', cell: (node) => String(node.instances), right: true },
    { head: 'RESERVED', cell: room, spare: true },
    { head: 'CPU', cell: (node) => percent(node.cpu_ratio), right: true, spare: true },
    { head: 'MEMORY', cell: (node) => percent(node.memory_ratio), right: true, spare: true },
    { head: 'DISK', cell: (node) => percent(node.disk_ratio), right: true, spare: true },
    { head: 'PRESSURE', cell: (node) => node.pressure.join(' '), shade: () => 'bad', spare: true },
    { head: 'RUNTIMES', cell: usable, shrinksTo: 8, spare: true },
  ]
  return table(nodes, columns, width, paint)
}

export const nodes = verb({
  name: 'nodes',
  args: '',
  group: 'Operate',
  summary: 'List nodes',
  flags: {},
  async run({ core, out, flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const listed = await collect(LIST_LIMIT, (query) => client.value.call('listNodes', { query: { ...query } }))
    if (!listed.ok) return listed
    const { items, more } = listed.value
    await out.value(items, () => (items.length === 0 ? 'no nodes; start an agent\n' : nodeTable(items, out.columns, out.nowMs, out.paint)))
    if (more) await out.note(moreNote(items.length))
    return ok(EXIT.ok)
  },
})

const nodePage = (node: NodeView, nowMs: number, paint: Paint): string =>
  facts(
    [
      ['node', node.id],
      ['state', paint(shadeOf(node.state), node.state)],
      ['last seen', node.connected ? 'connected' : when(node.last_seen_at, nowMs)],
      ['hostname', oneLine(node.hostname)],
      ['cores', String(node.cores)],
      [
        'memory',
        `${bytes(node.memory_bytes)}, ${bytes(node.allocatable_memory_bytes)} allocatable, ${bytes(node.reserved_memory_bytes)} reserved`,
      ],
      ['usage', `cpu ${percent(node.cpu_ratio)}, memory ${percent(node.memory_ratio)}, disk ${percent(node.disk_ratio)}`],
      ['pressure', node.pressure.join(', ')],
      ['blocked', node.blocked === null ? '' : paint('bad', oneLine(blockedText(node.blocked)))],
      ['instances', String(node.instances)],
      [
        'labels',
        Object.entries(node.labels)
          .map(([key, value]) => `${key}=${value}`)
          .sort()
          .join(' '),
      ],
      ['agent', node.agent_version],
      ...node.runtimes.map((each) => [each.runtime, runtimeText(each)] as const),
    ],
    paint,
  )

const runtimeText = (each: NodeView['runtimes'][number]): string => {
  const version = each.version === null ? '' : ` ${each.version}`
  const text = each.usable
    ? `usable${version}, limits: ${each.limits}`
    : `not usable: ${each.detail}${each.fix === null || each.detail.includes(each.fix) ? '' : `; ${each.fix}`}`
  return oneLine(text)
}

export const nodesShow = verb({
  name: 'nodes show',
  args: '<id>',
  group: 'Operate',
  summary: 'Show a node and its runtimes',
  missing: MISSING,
  flags: {},
  async run({ core, out, args: [id = ''], flags }) {
    const client = await connect({ core, flags })
    if (!client.ok) return client
    const answer = await client.value.call('getNode', { params: { id } })
    if (!answer.ok) return answer
    await out.value(answer.value, () => nodePage(answer.value, out.nowMs, out.paint))
    return ok(EXIT.ok)
  },
})

const change = (name: string, route: 'cordonNode' | 'uncordonNode', summary: string, what: string): ListedVerb =>
  verb({
    name: `nodes ${name}`,
    args: '<id>',
    group: 'Operate',
    summary,
    missing: MISSING,
    flags: {},
    async run({ core, out, args: [id = ''], flags }) {
      const client = await connect({ core, flags })
      if (!client.ok) return client
      const answer = await client.value.call(route, { params: { id } })
      if (!answer.ok) return answer
      await out.value(answer.value, () => `${what} ${answer.value.id}\n${out.next(`holdfast nodes show ${answer.value.id}`)}`)
      return ok(EXIT.ok)
    },
  })

export const nodesCordon = change('cordon', 'cordonNode', 'Place nothing new on a node', 'cordoned')
export const nodesUncordon = change('uncordon', 'uncordonNode', 'Place on a node again', 'uncordoned')
