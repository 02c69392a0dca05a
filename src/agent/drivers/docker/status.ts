// Is the engine usable here, and if not, the one command that mends it.
import type { Result } from '../../../base/result.ts'
import type { RuntimeStatus } from '../../../contracts/agent-protocol.ts'
import type { Failure } from '../../../contracts/errors.ts'
import { type Engine, VERSION_MIN } from './engine.ts'
import { type EngineFault, failureOf, INSTALL_HINT } from './engine-fault.ts'
import { LABEL } from './marks.ts'
import { EngineInfo } from './schemas.ts'

const STATUS_DEADLINE_MS = 5000
/** It left a ping unanswered just now: whoever asks how it is need not wait as long again to hear that. */
const AWAY_DEADLINE_MS = 1000

export async function engineStatus(engine: Engine, isAway: boolean, signal: AbortSignal): Promise<RuntimeStatus> {
  const deadlineMs = isAway ? AWAY_DEADLINE_MS : STATUS_DEADLINE_MS
  const info = await engine.json({ method: 'GET', path: '/info', deadlineMs }, EngineInfo, signal)
  if (!info.ok) return unusable(info.error, engine.socketPath)
  const { ServerVersion: version, MemoryLimit: capped, OSType: os } = info.value
  if (os !== 'linux')
    return {
      runtime: 'docker',
      usable: false,
      version,
      detail: `It runs ${os} containers; Linux ones are needed.`,
      fix: null,
      limits: 'none',
    }
  const detail = capped
    ? `Docker Engine ${version} at ${engine.socketPath}`
    : `Docker Engine ${version}; its kernel enforces no memory limits`
  return { runtime: 'docker', usable: true, version, detail, fix: null, limits: capped ? 'engine' : 'none' }
}

/** Of an engine that answers: without the identity of its data directory the driver cannot tell its own containers from others. */
export function ownerStatus(engine: RuntimeStatus, stateId: Result<string | null, Failure>): RuntimeStatus {
  if (stateId.ok) return engine
  // Every container of ours carries the identity: it can be had back from there.
  const fix = `docker ps -a --filter label=${LABEL.state} --format '{{.Label "${LABEL.node}"}} {{.Label "${LABEL.state}"}}'   (write it back)`
  return { ...engine, usable: false, detail: stateId.error.detail, fix: stateId.error.code === 'file_error' ? fix : null }
}

function unusable(fault: EngineFault, socketPath: string): RuntimeStatus {
  return {
    runtime: 'docker',
    usable: false,
    version: fault.kind === 'too-old' ? `API ${fault.version}` : null,
    detail: detailOf(fault, socketPath),
    fix: fixOf(fault),
    limits: 'none',
  }
}

/** Which socket was tried is half of the answer: often it is the wrong one. */
function detailOf(fault: EngineFault, socketPath: string): string {
  switch (fault.kind) {
    case 'silent':
      return `The Docker Engine at ${socketPath} does not answer (${fault.what}).`
    // Given up by whoever asked: for them it did not answer.
    case 'cancelled':
      return `The Docker Engine at ${socketPath} does not answer (no answer in time).`
    default:
      return failureOf(fault, 'describe itself').detail
  }
}

function fixOf(fault: EngineFault): string | null {
  switch (fault.kind) {
    case 'absent':
      return fault.errno === 'EACCES' || fault.errno === 'EPERM' ? 'usermod -aG docker "$USER"   (then log in again)' : INSTALL_HINT
    case 'cancelled':
    case 'silent':
      return 'systemctl restart docker'
    case 'too-old':
      return `${INSTALL_HINT}   (API ${VERSION_MIN} or newer)`
    default:
      return null
  }
}
