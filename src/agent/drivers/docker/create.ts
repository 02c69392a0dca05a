// From what is wanted to the engine's container configuration. Pure.
import { err, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { formatMemory } from '../../../contracts/units.ts'
import type { Wanted } from '../driver.ts'
import { LABEL, type MarkedPort, type Owner, writePorts } from './marks.ts'

/** The engine's own floor; below it the create call would be refused. */
const MEMORY_BYTES_MIN = 6 * 2 ** 20
/** Kept by the engine per container: two files, so that turning one over never leaves less than half. `local` keeps every byte as it was. */
const LOG_CONFIG = { Type: 'local', Config: { 'max-size': '8m', 'max-file': '2', compress: 'false' } }

export function containerConfig(want: Wanted, owner: Owner, extraLabels: Readonly<Record<string, string>>): Result<object, Failure> {
  const { spec } = want
  if (spec.image === null) return err(failure('image_not_found', 'The docker runtime needs an image.'))
  if (spec.memoryBytes < MEMORY_BYTES_MIN)
    return err(
      failure('limits_unsupported', `The Docker Engine cannot cap memory at ${formatMemory(spec.memoryBytes)}; its minimum is 6Mi.`, {
        dimension: 'memory',
        minimum: MEMORY_BYTES_MIN,
      }),
    )
  const ports = portsOf(want)
  const [network] = spec.networks
  return ok({
    Image: spec.image,
    ...(spec.command.length > 0 && { Cmd: spec.command }),
    // Ours last: what the platform promises about itself is not overridden by a variable of the same name.
    Env: Object.entries({ ...spec.env, ...want.platformEnv }).map(([key, value]) => `${key}=${value}`),
    Hostname: want.name,
    ...(spec.workingDir !== null && { WorkingDir: spec.workingDir }),
    ...(spec.security.user !== null && { User: spec.security.user }),
    Labels: labelsOf(want, owner, ports, extraLabels),
    ExposedPorts: Object.fromEntries(ports.map((port) => [portKey(port), {}])),
    StopSignal: spec.stop.signal,
    StopTimeout: Math.ceil(spec.stop.graceMs / 1000),
    HostConfig: hostConfigOf(want, ports),
    ...(network !== undefined && { NetworkingConfig: { EndpointsConfig: { [network]: {} } } }),
  })
}

export const portKey = (port: Pick<MarkedPort, 'internal' | 'protocol'>): string => `${port.internal}/${port.protocol}`

const portsOf = ({ spec, hostPorts }: Wanted): MarkedPort[] =>
  spec.ports.map((port, index) => ({
    name: port.name,
    protocol: port.protocol,
    internal: port.internal,
    host: hostPorts[index] ?? port.host,
  }))

function hostConfigOf({ spec }: Wanted, ports: readonly MarkedPort[]): object {
  const { security } = spec
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {}
  for (const [index, port] of ports.entries()) {
    // A port somebody names is meant to be reached; one we choose is for routes and probes on this node.
    const binding = { HostIp: (spec.ports[index]?.host ?? 0) > 0 ? '0.0.0.0' : '127.0.0.1', HostPort: String(port.host) }
    bindings[portKey(port)] = [...(bindings[portKey(port)] ?? []), binding]
  }
  return {
    // Equal to Memory: no swap, so that the cap is the cap.
    Memory: spec.memoryBytes,
    MemorySwap: spec.memoryBytes,
    CpuShares: Math.max(2, Math.round((spec.cpuMillis / 1000) * 1024)),
    ReadonlyRootfs: security.readOnlyRoot,
    Privileged: security.privileged,
    CapAdd: security.capabilitiesAdd,
    CapDrop: security.capabilitiesDrop,
    PortBindings: bindings,
    // `Mounts` and not `Binds`: the latter makes a missing source as an empty directory owned by root.
    Mounts: spec.mounts.map((mount) => ({ Type: 'bind', Source: mount.source, Target: mount.target, ReadOnly: mount.readOnly })),
    // Restarting is the agent's: two healers of one container would be one too many.
    RestartPolicy: { Name: 'no' },
    LogConfig: LOG_CONFIG,
    ...(spec.networks[0] !== undefined && { NetworkMode: spec.networks[0] }),
  }
}

function labelsOf(
  want: Wanted,
  owner: Owner,
  ports: readonly MarkedPort[],
  extraLabels: Readonly<Record<string, string>>,
): Record<string, string> {
  const user = Object.entries(want.labels).map(([key, value]) => [`${LABEL.user}${key}`, value])
  return {
    ...Object.fromEntries(user),
    ...extraLabels,
    [LABEL.node]: owner.nodeId,
    [LABEL.state]: owner.stateId,
    [LABEL.instance]: want.id,
    [LABEL.incarnation]: String(want.incarnation),
    [LABEL.nonce]: want.nonce,
    [LABEL.name]: want.name,
    ...(ports.length > 0 && { [LABEL.ports]: writePorts(ports) }),
    ...(hasCloudInit(want) && { [LABEL.cloudInit]: '1' }),
  }
}

export const hasCloudInit = ({ spec }: Pick<Wanted, 'spec'>): boolean => spec.userData !== null || spec.sshAuthorizedKeys.length > 0
