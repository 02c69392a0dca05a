// Why a start failed, from facts and not from the engine's sentence: its status, the exit code it noted, and what can be looked up.
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { readAccounts } from '../../cloud-init/accounts.ts'
import type { Wanted } from '../driver.ts'
import { type EngineFault, failureOf, isStatus } from './engine-fault.ts'
import { inspect, type Parts } from './find.ts'
import { guestFiles } from './guest.ts'

/** As shells do: 127 = no such command, 126 = not executable. The engine notes them when the start itself failed. */
const NOT_FOUND = 127
const NOT_EXECUTABLE = 126

export async function explainStart(
  parts: Parts,
  want: Wanted,
  containerId: string,
  fault: EngineFault,
  signal: AbortSignal,
): Promise<Failure> {
  if (fault.kind !== 'status') return failureOf(fault, 'start the container')
  const container = await inspect(parts.engine, containerId, signal)
  const state = container.ok ? container.value?.State : undefined
  const refused = failureOf(fault, 'start the container', 'start_failed')
  if (state && !state.Running && (state.ExitCode === NOT_FOUND || state.ExitCode === NOT_EXECUTABLE))
    return { ...refused, code: 'command_not_found', fields: { exit_code: state.ExitCode, command: want.spec.command.slice(0, 1) } }
  if (isStatus(fault, 404)) {
    const network = await missingNetwork(parts, want, signal)
    if (network !== undefined) return failure('network_not_found', `The node has no Docker network ${network}.`, { network })
  }
  const port = await takenPort(want)
  if (port !== undefined) return failure('port_in_use', `Port ${port} of the node is already in use.`, { port })
  const user = await missingUser(parts, want, containerId, signal)
  if (user !== undefined) return failure('invalid_command', `The image has no user or group ${user}.`, { user })
  return isStatus(fault, 400) ? { ...refused, code: 'invalid_command' } : refused
}

async function missingNetwork(parts: Parts, want: Wanted, signal: AbortSignal): Promise<string | undefined> {
  for (const network of want.spec.networks) {
    const answer = await parts.engine.call({ method: 'GET', path: `/networks/${encodeURIComponent(network)}` }, signal)
    if (!answer.ok && isStatus(answer.error, 404)) return network
  }
  return undefined
}

/** Binds each fixed port for a moment. Only a clear "in use" counts; a port we may not bind proves nothing. */
async function takenPort(want: Wanted): Promise<number | undefined> {
  for (const [index, port] of want.spec.ports.entries()) {
    const host = want.hostPorts[index] ?? port.host
    if (host > 0 && (await (port.protocol === 'tcp' ? bindTcp(host) : bindUdp(host))) === 'EADDRINUSE') return host
  }
  return undefined
}

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : 'unknown')

function bindTcp(port: number): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve(codeOf(error)))
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => server.close(() => resolve('free')))
  })
}

function bindUdp(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.once('error', (error) => {
      socket.close()
      resolve(codeOf(error))
    })
    socket.bind({ port, address: '0.0.0.0', exclusive: true }, () => socket.close(() => resolve('free')))
  })
}

/** The name in `user` or `user:group` that the image does not have; numbers need no entry. */
async function missingUser(parts: Parts, want: Wanted, containerId: string, signal: AbortSignal): Promise<string | undefined> {
  const [user = '', group = ''] = want.spec.security.user?.split(':') ?? []
  if (user === '') return undefined
  const files = guestFiles(parts.engine, containerId)
  const [passwd, groups] = await Promise.all([files.read('/etc/passwd', signal), files.read('/etc/group', signal)])
  if (!passwd.ok || !groups.ok) return undefined
  const accounts = readAccounts(passwd.value?.content.toString() ?? '', groups.value?.content.toString() ?? '')
  const known = (name: string, names: ReadonlyMap<string, unknown>) => name === '' || /^[0-9]+$/.test(name) || names.has(name)
  if (!known(user, accounts.users)) return user
  return known(group, accounts.groups) ? undefined : group
}
