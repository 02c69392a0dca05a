// From the user's input to the compiled spec: defaults, base units, and the rules between fields.

import type { z } from 'zod'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from './errors.ts'
import { type Check, type HealthCheckInput, type InstanceInput, type InstanceSpec, USER_DATA_BYTES_MAX } from './spec.ts'
import { MEMORY_BYTES_DEFAULT } from './units.ts'

type Parsed = z.output<typeof InstanceInput>
type Ports = InstanceSpec['ports']

const bad = (field: string, what: string) => err(failure('invalid_input', `${field}: ${what}`, { field }))

/** Checks the rules that need more than one field; the failure names the field. */
export function compileSpec(input: Parsed): Result<InstanceSpec, Failure> {
  const ports: Ports = input.ports.map((port) => ({
    name: port.name ?? `p${port.internal}`,
    internal: port.internal,
    // A process listens on the node itself: there is nothing between its own port and the node's.
    host: input.runtime === 'process' && port.host === 0 ? port.internal : port.host,
    protocol: port.protocol,
  }))
  const refused = refusePorts(input, ports) ?? refuseRuntime(input)
  if (refused) return refused
  if (input.user_data !== undefined && Buffer.byteLength(input.user_data) > USER_DATA_BYTES_MAX)
    return err(
      failure('invalid_user_data', `user_data: ${Buffer.byteLength(input.user_data)} bytes; the limit is ${USER_DATA_BYTES_MAX}.`, {
        field: 'user_data',
        limit: USER_DATA_BYTES_MAX,
      }),
    )
  const health: Check[] = []
  for (const [index, check] of input.health.entries()) {
    const port = check.type === 'exec' ? 0 : resolvePort(check.port, ports)
    if (port === undefined)
      return bad(
        `health.${index}.port`,
        `no port ${check.type === 'exec' ? '' : JSON.stringify(check.port)} among the ports of the instance; add it to ports`,
      )
    if (check.timeout > check.interval) return bad(`health.${index}.timeout`, 'must not be longer than the interval')
    health.push(compileCheck(check, port))
  }
  return ok({
    runtime: input.runtime,
    image: input.image ?? null,
    command: input.command,
    cpuMillis: Math.max(1, Math.round(input.cpu * 1000)),
    memoryBytes: input.memory ?? MEMORY_BYTES_DEFAULT,
    env: input.env,
    workingDir: input.working_dir ?? null,
    ports,
    mounts: input.mounts.map((mount) => ({ source: mount.source, target: mount.target, readOnly: mount.read_only })),
    health,
    restart: input.restart.policy,
    stop: { signal: input.stop.signal, graceMs: input.stop.grace },
    security: {
      privileged: input.security.privileged,
      capabilitiesAdd: input.security.capabilities_add,
      capabilitiesDrop: input.security.capabilities_drop,
      readOnlyRoot: input.security.read_only_root,
      user: input.security.user ?? null,
    },
    networks: input.networks,
    allowDataLoss: input.allow_data_loss,
    recoveryMode: input.recovery?.mode ?? null,
    userData: input.user_data ?? null,
    sshAuthorizedKeys: input.ssh_authorized_keys,
    nodeSelector: input.node_selector,
  })
}

function refusePorts(input: Parsed, ports: Ports): Result<never, Failure> | undefined {
  const hosts = ports.filter((port) => port.host > 0).map((port) => `${port.host}/${port.protocol}`)
  if (new Set(ports.map((port) => port.name)).size < ports.length) return bad('ports', 'two ports have the same name')
  if (new Set(hosts).size < hosts.length) return bad('ports', 'two ports have the same host port')
  const moved = ports.find((port) => port.host !== port.internal && port.internal !== 0)
  if (input.runtime === 'process' && moved)
    return bad(
      'ports',
      `a process listens on the node itself, so host ${moved.host} cannot lead to internal ${moved.internal}; give one number, or internal 0 to have it chosen and passed in PORT`,
    )
  if (input.runtime !== 'process' && ports.some((port) => port.internal === 0))
    return bad('ports', 'internal 0 (chosen per replica) is for the process runtime; give the port the workload listens on')
  return undefined
}

function refuseRuntime(input: Parsed): Result<never, Failure> | undefined {
  if (input.runtime === 'process') {
    if (input.command.length === 0 || input.command[0] === '') return bad('command', 'the process runtime needs a command')
    if (input.image !== undefined) return bad('image', 'the process runtime runs no image; use the docker runtime')
    if (input.user_data !== undefined || input.ssh_authorized_keys.length > 0)
      return bad('user_data', 'the process runtime has no machine of its own to initialise; use docker or qemu')
    if (input.mounts.length > 0) return bad('mounts', 'the process runtime shares the file system of the node; mounts need docker or qemu')
    if (input.networks.length > 0) return bad('networks', 'the process runtime shares the network of the node; networks need docker')
    const { privileged, capabilities_add, capabilities_drop, read_only_root } = input.security
    const asked = Object.entries({ privileged, capabilities_add, capabilities_drop, read_only_root }).find(([, value]) =>
      typeof value === 'boolean' ? value : value.length > 0,
    )
    if (asked) return bad(`security.${asked[0]}`, 'the process runtime cannot apply it; use the docker runtime')
    return undefined
  }
  if (input.image === undefined && input.runtime !== 'fake') return bad('image', `the ${input.runtime} runtime needs an image`)
  return undefined
}

function resolvePort(wanted: number | string, ports: Ports): number | undefined {
  if (typeof wanted === 'string') return ports.find((port) => port.name === wanted)?.internal
  // A process listens on the node itself, so a check may name a port that nobody published.
  return wanted
}

function compileCheck(check: z.output<typeof HealthCheckInput>, port: number): Check {
  const timing = {
    kind: check.kind,
    intervalMs: check.interval,
    timeoutMs: check.timeout,
    failureThreshold: check.failure_threshold,
    successThreshold: check.success_threshold,
    graceMs: check.grace ?? 10_000,
  }
  switch (check.type) {
    case 'tcp':
      return { type: 'tcp', port, ...timing }
    case 'http':
      return { type: 'http', port, path: check.path, headers: check.headers, status: check.status ?? null, ...timing }
    case 'exec':
      return { type: 'exec', command: check.command, ...timing }
  }
}
