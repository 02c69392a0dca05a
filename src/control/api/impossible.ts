// What no node that is known could ever take, refused while its user is still there to hear it. What may come about waits instead: room comes
// back, and a node that is away still counts with what it offered. While no node is known, everything may come about.
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceSpec, Runtime } from '../../contracts/spec.ts'
import { formatMemory } from '../../contracts/units.ts'
import type { NodeRecord } from '../model/node.ts'
import type { NodeCache } from './node-cache.ts'

/** `no_node` with the fields `dimension` (`runtime`, `memory`), `requested` and `available`. */
export async function refuseImpossible(cache: NodeCache, spec: InstanceSpec): Promise<Result<void, Failure>> {
  const nodes = await cache.get()
  if (!nodes.ok) return nodes
  const runtime = unoffered(nodes.value, spec.runtime)
  return runtime.ok ? unroomed(nodes.value, spec.memoryBytes) : runtime
}

/** The same for what only needs a runtime. */
export async function refuseUnoffered(cache: NodeCache, runtimes: readonly Runtime[]): Promise<Result<void, Failure>> {
  const nodes = await cache.get()
  if (!nodes.ok) return nodes
  return runtimes.map((runtime) => unoffered(nodes.value, runtime)).find((each) => !each.ok) ?? OK
}

const offeredBy = (nodes: readonly NodeRecord[]): readonly Runtime[] =>
  [...new Set(nodes.flatMap((node) => node.facts.runtimes.map(({ runtime }) => runtime)))].sort()

/** A node names every runtime that is built into it, also one that does not answer: that one may be mended. */
function unoffered(nodes: readonly NodeRecord[], runtime: Runtime): Result<void, Failure> {
  if (nodes.length === 0 || offeredBy(nodes).includes(runtime)) return OK
  const available = offeredBy(nodes.filter((node) => node.connected))
  const there = available.length === 0 ? 'no node is connected now' : `those that are connected have ${available.join(', ')}`
  return err(failure('no_node', `No node has the ${runtime} runtime; ${there}.`, { dimension: 'runtime', requested: runtime, available }))
}

function unroomed(nodes: readonly NodeRecord[], memoryBytes: number): Result<void, Failure> {
  const allocatable = (node: NodeRecord) => node.facts.allocatableMemoryBytes
  if (nodes.length === 0 || nodes.some((node) => allocatable(node) >= memoryBytes)) return OK
  const largest = Math.max(...nodes.map(allocatable))
  const each = nodes.slice(0, 20).map((node) => `${node.id}: memory: ${wholeMemory(allocatable(node))} allocatable`)
  return err(
    failure('no_node', `It asks for ${formatMemory(memoryBytes)} of memory; the largest node has ${wholeMemory(largest)} in all.`, {
      dimension: 'memory',
      requested: memoryBytes,
      available: largest,
      nodes: each,
    }),
  )
}

/** Rounded down to whole Mi: a node's memory is no round number, and nobody can ask for the rest. */
const wholeMemory = (bytes: number): string => formatMemory(Math.floor(bytes / 2 ** 20) * 2 ** 20)
