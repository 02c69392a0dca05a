// How our containers are marked and named. The labels are the driver's memory inside the engine: an agent that lost every file still
// knows which node, data directory, instance, incarnation and nonce a container belongs to.
import { type InstanceId, InstanceId as InstanceIdSchema } from '../../../contracts/ids.ts'
import type { Target } from '../driver.ts'

export const LABEL = {
  node: 'holdfast.io/node',
  /** Identity of the data directory: two of them on one machine share the node's name and must not see each other's containers. */
  state: 'holdfast.io/state',
  instance: 'holdfast.io/instance',
  incarnation: 'holdfast.io/incarnation',
  nonce: 'holdfast.io/nonce',
  name: 'holdfast.io/name',
  ports: 'holdfast.io/ports',
  cloudInit: 'holdfast.io/cloud-init',
  user: 'holdfast.io/label/',
} as const

export interface Owner {
  readonly nodeId: string
  readonly stateId: string
}

export interface Mark extends Target {
  readonly ports: readonly MarkedPort[]
  readonly cloudInit: boolean
}

/** A published port as asked for; `host` 0 = chosen by the engine. */
export interface MarkedPort {
  readonly name: string
  readonly protocol: 'tcp' | 'udp'
  readonly internal: number
  readonly host: number
}

export const containerName = (target: Pick<Target, 'id' | 'incarnation'>): string => `holdfast-${target.id}-${target.incarnation}`

/** The engine's filter for everything of this owner; more terms narrow it. */
export const labelFilter = (owner: Owner, more: readonly string[] = []): string =>
  JSON.stringify({ label: [`${LABEL.node}=${owner.nodeId}`, `${LABEL.state}=${owner.stateId}`, ...more] })

export const instanceFilter = (owner: Owner, id: InstanceId): string => labelFilter(owner, [`${LABEL.instance}=${id}`])

/** Undefined when the labels are not whole: then it is nobody's, whatever its name. */
export function readMark(labels: Readonly<Record<string, string>>): Mark | undefined {
  const id = InstanceIdSchema.safeParse(labels[LABEL.instance])
  const incarnation = Number(labels[LABEL.incarnation])
  const nonce = labels[LABEL.nonce]
  if (!id.success || !Number.isSafeInteger(incarnation) || incarnation < 1 || !nonce) return undefined
  return { id: id.data, incarnation, nonce, ports: readPorts(labels[LABEL.ports] ?? ''), cloudInit: labels[LABEL.cloudInit] === '1' }
}

export const writePorts = (ports: readonly MarkedPort[]): string =>
  ports.map((port) => `${port.name}:${port.host}:${port.internal}/${port.protocol}`).join(',')

function readPorts(text: string): MarkedPort[] {
  return text.split(',').flatMap((word) => {
    const [, name, host, internal, protocol] = /^([a-z0-9-]+):([0-9]+):([0-9]+)\/(tcp|udp)$/.exec(word) ?? []
    if (!name || !host || !internal) return []
    return [{ name, host: Number(host), internal: Number(internal), protocol: protocol === 'udp' ? ('udp' as const) : ('tcp' as const) }]
  })
}
