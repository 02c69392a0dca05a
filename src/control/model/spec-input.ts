// A compiled spec as a user would write it: snake_case, human units, only members that say something. What comes out can be sent
// again and compiles to the same spec; a test proves it.
import type { Check, InstanceSpec } from '../../contracts/spec.ts'
import { formatMemory } from '../../contracts/units.ts'

/** The shortest exact duration text: `90s`, `5m`, `1500ms`. */
export function formatDuration(ms: number): string {
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`
  if (ms % 60_000 === 0) return `${ms / 60_000}m`
  if (ms % 1000 === 0) return `${ms / 1000}s`
  return `${ms}ms`
}

const some = <T extends object>(value: T): boolean => Object.keys(value).length > 0

export function specInput(spec: InstanceSpec): Readonly<Record<string, unknown>> {
  const { security } = spec
  const hardened =
    security.privileged ||
    security.readOnlyRoot ||
    security.user !== null ||
    some(security.capabilitiesAdd) ||
    some(security.capabilitiesDrop)
  return {
    runtime: spec.runtime,
    ...(spec.image !== null && { image: spec.image }),
    ...(some(spec.command) && { command: spec.command }),
    cpu: spec.cpuMillis / 1000,
    memory: formatMemory(spec.memoryBytes),
    ...(some(spec.env) && { env: spec.env }),
    ...(spec.workingDir !== null && { working_dir: spec.workingDir }),
    ...(some(spec.ports) && { ports: spec.ports }),
    ...(some(spec.mounts) && { mounts: spec.mounts.map(({ source, target, readOnly }) => ({ source, target, read_only: readOnly })) }),
    ...(some(spec.health) && { health: spec.health.map((check) => checkInput(check, spec.ports)) }),
    restart: { policy: spec.restart },
    stop: { signal: spec.stop.signal, grace: formatDuration(spec.stop.graceMs) },
    ...(hardened && {
      security: {
        privileged: security.privileged,
        capabilities_add: security.capabilitiesAdd,
        capabilities_drop: security.capabilitiesDrop,
        read_only_root: security.readOnlyRoot,
        ...(security.user !== null && { user: security.user }),
      },
    }),
    ...(some(spec.networks) && { networks: spec.networks }),
    ...(spec.allowDataLoss && { allow_data_loss: true }),
    ...(spec.recoveryMode !== null && { recovery: { mode: spec.recoveryMode } }),
    ...(spec.userData !== null && { user_data: spec.userData }),
    ...(some(spec.sshAuthorizedKeys) && { ssh_authorized_keys: spec.sshAuthorizedKeys }),
    ...(some(spec.nodeSelector) && { node_selector: spec.nodeSelector }),
  }
}

function checkInput(check: Check, ports: InstanceSpec['ports']): Readonly<Record<string, unknown>> {
  const timing = {
    kind: check.kind,
    interval: formatDuration(check.intervalMs),
    timeout: formatDuration(check.timeoutMs),
    failure_threshold: check.failureThreshold,
    success_threshold: check.successThreshold,
    grace: formatDuration(check.graceMs),
  }
  // 0 stands for the port chosen per replica, which a user can only name.
  const port = (internal: number) => (internal === 0 ? (ports.find((one) => one.internal === 0)?.name ?? 0) : internal)
  switch (check.type) {
    case 'tcp':
      return { type: 'tcp', port: port(check.port), ...timing }
    case 'http':
      return {
        type: 'http',
        port: port(check.port),
        path: check.path,
        ...(some(check.headers) && { headers: check.headers }),
        ...(check.status !== null && { status: check.status }),
        ...timing,
      }
    case 'exec':
      return { type: 'exec', command: check.command, ...timing }
  }
}
