// What a subject's checks do when they run: the engine's own evidence, and tcp, http and exec as the user declared them.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Check } from '../../contracts/spec.ts'
import type { Subject } from '../model/check.ts'
import { checkHttp, checkTcp, type Endpoint } from './network.ts'
import { type Finding, fail, inconclusive, pass } from './outcome.ts'

/** Our deadline decides; the driver's own is for the case that we are gone. */
const DRIVER_MARGIN_MS = 1000

type Target = Pick<Subject, 'id' | 'incarnation' | 'nonce'>

/** The part of a driver that checks need. */
export interface Evidence {
  probe(target: Target, signal: AbortSignal): Promise<Result<void, Failure>>
  exec(
    target: Target,
    options: { readonly command: readonly string[]; readonly stdin: null; readonly timeoutMs: number; readonly user: null },
    emit: null,
    signal: AbortSignal,
  ): Promise<Result<number, Failure>>
}

export type Run = (signal: AbortSignal) => Promise<Finding>

/** In the order of `plannedChecks`: engine first. */
export function runsOf(subject: Subject, evidence: Evidence): readonly Run[] {
  return [
    (signal) => checkEngine(subject, evidence, signal),
    ...subject.spec.health.map(
      (check): Run =>
        (signal) =>
          runCheck(check, subject, evidence, signal),
    ),
  ]
}

async function runCheck(check: Check, subject: Subject, evidence: Evidence, signal: AbortSignal): Promise<Finding> {
  switch (check.type) {
    case 'tcp':
    case 'http': {
      const endpoint = endpointOf(subject, check.port)
      if (!endpoint) return fail('no_address', `${check.type}: port ${check.port} is not reachable from the node; add it to ports`)
      return check.type === 'tcp' ? checkTcp(endpoint, signal) : checkHttp(endpoint, check, signal)
    }
    case 'exec': {
      const done = await evidence.exec(
        subject,
        { command: check.command, stdin: null, timeoutMs: check.timeoutMs + DRIVER_MARGIN_MS, user: null },
        null,
        signal,
      )
      if (done.ok)
        return done.value === 0 ? pass('exec: exit code 0') : fail('exit_code', `exec: exit code ${done.value}${NOT_RUN[done.value] ?? ''}`)
      if (signal.aborted) return fail('timeout', 'exec: not finished in time')
      return says(done.error) ? fail('exec_failed', `exec: ${done.error.detail}`) : inconclusive(`exec: ${done.error.detail}`)
    }
    default:
      return check satisfies never
  }
}

async function checkEngine(subject: Subject, evidence: Evidence, signal: AbortSignal): Promise<Finding> {
  const seen = await evidence.probe(subject, signal)
  if (seen.ok) return pass('alive')
  if (signal.aborted) return fail('timeout', 'no answer in time')
  const { code, detail } = seen.error
  if (code === 'process_dead' || code === 'process_mismatch' || code === 'socket_unreachable') return fail(code, detail)
  return says(seen.error) ? fail('health_check_failed', detail) : inconclusive(detail)
}

/** As in a shell, where a command may also end so by itself. */
const NOT_RUN: Readonly<Record<number, string>> = {
  126: ', as of a command that cannot be executed',
  127: ', as of a command that was not found',
}

/** A runtime that cannot be asked proves nothing about what it runs. */
const says = ({ code }: Failure) =>
  code !== 'runtime_unreachable' && code !== 'runtime_unavailable' && code !== 'cancelled' && code !== 'shutting_down'

/** Port 0 stands for the one chosen by the node. A process listens on the node itself, published or not. */
function endpointOf({ spec, addresses }: Subject, port: number): Endpoint | undefined {
  const name = port === 0 ? spec.ports.find(({ internal }) => internal === 0)?.name : undefined
  const address = addresses.find((one) => one.protocol === 'tcp' && (name === undefined ? one.internal === port : one.name === name))
  if (address) return { host: ANY[address.host] ?? address.host, port: address.port }
  return spec.runtime === 'process' && port > 0 ? { host: '127.0.0.1', port } : undefined
}

const ANY: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1', '': '127.0.0.1' }
